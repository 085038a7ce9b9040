// Fused warp and sampling on the CPU; compiled once per instruction set.
//
//   output[n, c, i, j] = mean over the points p of pixel (i, j) of sum_ab row_a(p) column_b(p) input[n, c, a, b]
//
// Both directions go by tiles of at most 64 x 64 destination pixels, whose points read a copy of the part of the source
// that they span; see warp_frames.h. Points that are given instead of a matrix take the same way; the gradient to them
// is in remap_kernel.cpp.
//
// Forward: a task is a tile of an image and some of the channels. Backward: a task is an image and a block of channels,
// which sums into a frame of the whole image in the order of the tiles and writes it once; without a gradient to the
// input, it is a row of tiles. There are no atomics, and the result does not depend on the number of threads: the sums
// for the matrix are kept for each image, block and row of tiles, and added in this order.
#include <vector>

#include "warp_frames.h"

namespace stn_det::STN_DET_ISA {
namespace {

// Adds the sample at point i.
template <int V, int K, typename A>
inline void add_sample(const Workspace<A, K>& work, const A* pixels, int64_t i, Vec<A>* total) {
  constexpr int64_t kBlock = V * kLanes<A>;
  for (int a = 0; a < K; ++a) {
    Vec<A> line[V] = {};
    for (int b = 0; b < K; ++b) {
      const A* pixel = pixels + (int64_t{work.row[a][i]} + work.column[b][i]) * kBlock;
      for (int v = 0; v < V; ++v) line[v] += load<A>(pixel + v * kLanes<A>) * work.x.weight[b][i];
    }
    for (int v = 0; v < V; ++v) total[v] += line[v] * work.y.weight[a][i];
  }
}

template <int V, int K, typename T, typename A>
void forward_tile(
    const WarpArgs& args, int64_t image, const Tile& tile, int64_t first, int64_t last, Workspace<A, K>& work) {
  constexpr int64_t kBlock = V * kLanes<A>;
  if (tile.height == 0 || tile.width == 0) return;
  const auto visit = [&](const Tile& part) { forward_tile<V, K, T, A>(args, image, part, first, last, work); };
  if (!prepare(args, image, tile, false, work, visit)) return;
  const SourceFrame frame = find_frame(args, work);
  place_taps(frame, work);
  const Points& points = work.points;
  A* line = work.line.of(kTile * kBlock);
  for (int64_t block = first; block < last; ++block) {
    const int64_t channel = block * kBlock, channels = std::min(kBlock, args.channels - channel);
    const Planes<const T> input = image_of<T>(args.input, args.input_strides, image).from(channel);
    const Planes<T> output = image_of<T>(args.output, args.output_strides, image).from(channel);
    const A* pixels = copy_pixels<T, A, K>(input, frame, channels, kBlock, work);
    int64_t point = 0;
    for (int64_t row = 0; row < tile.height; ++row) {
      for (int64_t column = 0; column < tile.width; ++column) {
        const int32_t count = points.count[row * tile.width + column];
        Vec<A> total[V] = {};
        for (int32_t i = 0; i < count; ++i) add_sample<V, K, A>(work, pixels, point++, total);
        const A share = A(1) / static_cast<A>(count);
        for (int v = 0; v < V; ++v) store<A>(line + column * kBlock + v * kLanes<A>, total[v] * share);
      }
      unpack_row<T, A>(line, kBlock, output, tile.top + row, tile.left, tile.width, channels);
    }
  }
}

// Adds to the nine sums for the matrix what the slopes of the points give, always in the same order.
template <typename A, int K>
__attribute__((noinline)) void add_matrix_sums(Workspace<A, K>& work, double* sums) {
  const Points& points = work.points;
  const int64_t size = points.size, whole = size / 4 * 4;
  for (int64_t i = 0; i < size; ++i) {
    const double inverse = points.inverse_depth[i];
    const double x = inverse != 0 ? points.x[i] + 0.5 : 0, y = inverse != 0 ? points.y[i] + 0.5 : 0;
    work.slope_x[i] *= inverse;
    work.slope_y[i] *= inverse;
    work.slope_depth[i] = -(work.slope_x[i] * x + work.slope_y[i] * y);
  }
  const double* slopes[3] = {work.slope_x, work.slope_y, work.slope_depth};
  for (int row = 0; row < 3; ++row) {
    Vec<double> x = {}, y = {}, one = {};
    for (int64_t i = 0; i < whole; i += 4) {
      const Vec<double> slope = load<double>(slopes[row] + i);
      x += slope * load<double>(points.to_x + i);
      y += slope * load<double>(points.to_y + i);
      one += slope;
    }
    double total[3] = {sum<double>(x), sum<double>(y), sum<double>(one)};
    for (int64_t i = whole; i < size; ++i) {
      total[0] += slopes[row][i] * points.to_x[i];
      total[1] += slopes[row][i] * points.to_y[i];
      total[2] += slopes[row][i];
    }
    for (int i = 0; i < 3; ++i) sums[3 * row + i] += total[i];
  }
}

// `sums`: frame of the whole image for the gradient to the input, or null; `pixels`: the image in such a frame, if
// there is one and a gradient to the matrix is wanted; `matrix_sums`: nine, or null.
template <int V, int K, typename T, typename A>
void backward_tile(
    const WarpArgs& args, int64_t image, int64_t block, const Tile& tile, A* sums, const A* pixels,
    double* matrix_sums, Workspace<A, K>& work) {
  constexpr int64_t kBlock = V * kLanes<A>;
  if (tile.height == 0 || tile.width == 0) return;
  const auto visit = [&](const Tile& part) {
    backward_tile<V, K, T, A>(args, image, block, part, sums, pixels, matrix_sums, work);
  };
  if (!prepare(args, image, tile, matrix_sums != nullptr, work, visit)) return;
  const int64_t channel = block * kBlock, channels = std::min(kBlock, args.channels - channel);
  const SourceFrame frame = sums != nullptr ? SourceFrame{0, 0, args.height, args.width} : find_frame(args, work);
  place_taps(frame, work);
  const Points& points = work.points;
  if (sums == nullptr) {
    const Planes<const T> input = image_of<T>(args.input, args.input_strides, image).from(channel);
    pixels = copy_pixels<T, A, K>(input, frame, channels, kBlock, work);
  }
  const Planes<const T> grads = image_of<T>(args.grad_output, args.grad_output_strides, image).from(channel);
  A* line = work.line.of(kTile * kBlock);
  int64_t point = 0;
  for (int64_t row = 0; row < tile.height; ++row) {
    pack_row<T, A>(grads, tile.top + row, tile.left, tile.width, channels, kBlock, line);
    for (int64_t column = 0; column < tile.width; ++column) {
      const int32_t count = points.count[row * tile.width + column];
      const A share = A(1) / static_cast<A>(count);
      Vec<A> grad[V];
      for (int v = 0; v < V; ++v) grad[v] = load<A>(line + column * kBlock + v * kLanes<A>) * share;
      for (int32_t i = 0; i < count; ++i, ++point) {
        Vec<A> slopes[4] = {};
        visit_sample<V, K, A>(work, pixels, sums, point, grad, slopes);
        if (pixels == nullptr) continue;
        A along[4];
        sum_four<A>(slopes, along);
        work.slope_x[point] = along[0];
        work.slope_y[point] = along[1];
      }
    }
  }
  if (matrix_sums != nullptr) add_matrix_sums(work, matrix_sums);
}

// One image and block of channels, rows of tiles [first, last). `partial`: nine sums for each of these rows, or null.
template <int V, int K, typename T, typename A>
void backward_block(
    const WarpArgs& args, int64_t image, int64_t block, int64_t first, int64_t last, double* partial,
    Workspace<A, K>& work) {
  constexpr int64_t kBlock = V * kLanes<A>;
  const Tiling tiling(args);
  const SourceFrame whole{0, 0, args.height, args.width};
  const int64_t channel = block * kBlock, channels = std::min(kBlock, args.channels - channel);
  A* sums = nullptr;
  const A* pixels = nullptr;
  if (args.grad_input != nullptr) {
    sums = work.sums.of(whole.pixels() * kBlock);
    std::fill_n(sums, whole.pixels() * kBlock, A(0));
    if (partial != nullptr) {
      const Planes<const T> input = image_of<T>(args.input, args.input_strides, image).from(channel);
      pixels = copy_pixels<T, A, K>(input, whole, channels, kBlock, work);
    }
  }
  for (int64_t row = first; row < last; ++row) {
    double* matrix_sums = partial == nullptr ? nullptr : partial + 9 * (row - first);
    for (int64_t column = 0; column < tiling.across; ++column) {
      backward_tile<V, K, T, A>(args, image, block, tiling.at(args, row, column), sums, pixels, matrix_sums, work);
    }
  }
  if (sums == nullptr) return;
  const Planes<T> grad_input = image_of<T>(args.grad_input, args.grad_input_strides, image).from(channel);
  for (int64_t row = 0; row < args.height; ++row) {
    unpack_row<T, A>(sums + row * whole.pitch() * kBlock, kBlock, grad_input, row, 0, args.width, channels);
  }
}

template <int V, int K, typename T, typename A>
void forward(const WarpArgs& args) {
  const Tiling tiling(args);
  const int64_t blocks = (args.channels + V * kLanes<A> - 1) / (V * kLanes<A>);
  const int64_t tiles = args.images * tiling.down * tiling.across;
  // All channels in one task, unless that leaves too few tasks.
  const int64_t parts = tiles == 0 ? 1 : std::clamp<int64_t>(4 * args.threads / tiles, 1, std::max<int64_t>(1, blocks));
  const int64_t each = (blocks + parts - 1) / parts;
  for_tasks<A, K>(args, tiles * parts, [&](int64_t task, Workspace<A, K>& work) {
    const int64_t part = task % parts, column = task / parts % tiling.across;
    const int64_t row = task / parts / tiling.across % tiling.down, image = task / parts / tiling.across / tiling.down;
    forward_tile<V, K, T, A>(
        args, image, tiling.at(args, row, column), part * each, std::min(blocks, (part + 1) * each), work);
  });
}

template <int V, int K, typename T, typename A>
void backward(const WarpArgs& args) {
  const Tiling tiling(args);
  const int64_t blocks = (args.channels + V * kLanes<A> - 1) / (V * kLanes<A>);
  const bool to_matrix = args.grad_matrix != nullptr && K > 1, to_input = args.grad_input != nullptr;
  std::vector<double> partial(to_matrix ? args.images * blocks * tiling.down * 9 : 0);
  const int64_t rows = to_input ? 1 : tiling.down, each = to_input ? tiling.down : 1;
  const int64_t tasks = to_matrix || to_input ? args.images * blocks * rows : 0;
  for_tasks<A, K>(args, tasks, [&](int64_t task, Workspace<A, K>& work) {
    const int64_t row = task % rows, block = task / rows % blocks, image = task / rows / blocks;
    double* sums = to_matrix ? partial.data() + ((image * blocks + block) * tiling.down + row) * 9 : nullptr;
    backward_block<V, K, T, A>(args, image, block, row, row + each, sums, work);
  });
  if (args.grad_matrix == nullptr) return;
  const int64_t entries = 3 * args.matrix_rows, length = to_matrix ? blocks * tiling.down : 0;
  for (int64_t image = 0; image < args.images; ++image) {
    for (int64_t entry = 0; entry < entries; ++entry) {
      double total = 0;
      for (int64_t i = 0; i < length; ++i) total += partial[(image * length + i) * 9 + entry];
      args.grad_matrix[image * entries + entry] = total;
    }
  }
}

}  // namespace

void warp_sample_forward(const WarpArgs& args) {
  for_element_and_taps(args, [&]<int V, int K, typename T, typename A>() { forward<V, K, T, A>(args); });
}

void warp_sample_backward(const WarpArgs& args) {
  for_element_and_taps(args, [&]<int V, int K, typename T, typename A>() { backward<V, K, T, A>(args); });
}

}  // namespace stn_det::STN_DET_ISA
