// Fused warp and sampling on the CPU; compiled once per instruction set. See warp_points.h for where a pixel reads.
//
//   output[n, c, i, j] = mean over the points p of pixel (i, j) of sum_ab row_a(p) column_b(p) input[n, c, a, b]
//
// Both directions go by tiles of at most 64 x 64 destination pixels. The points of a tile become columns, rows and
// weights once for all channels; the part of the source that they span is copied with 8 or 16 channels of a pixel side
// by side (the frame), so that a pixel is read in whole vectors wherever it lies. One column and one row of zeros at
// the end of the frame stand for all that is not read. Where the points lie far apart, each gets its K x K pixels
// copied instead.
//
// Forward: a task is a tile of an image and some of the channels. Backward: a task is an image and a block of channels,
// which sums into a frame of the whole image in the order of the tiles and writes it once; without a gradient to the
// input, it is a row of tiles. There are no atomics, and the result does not depend on the number of threads: the sums
// for the matrix are kept for each image, block and row of tiles, and added in this order.
#include <atomic>
#include <limits>
#include <vector>

#include "pixel_blocks.h"
#include "warp_points.h"
#include "../entry/warp_sample.h"

namespace stn_det::STN_DET_ISA {
namespace {

// A rectangle of the source in memory, followed by a column and a row of zeros.
struct Frame {
  int64_t top, left, height, width;

  bool exists() const { return height >= 0; }
  int64_t pitch() const { return width + 1; }
  int64_t pixels() const { return (height + 1) * (width + 1); }
};

template <typename A, int K>
struct Workspace {
  Points points;
  WarpTaps<A, K> x, y;
  // Of a point's pixels in the copy, rows times its pitch: the sum is a pixel.
  int32_t column[K][kPitch], row[K][kPitch];
  double slope_x[kPitch], slope_y[kPitch], slope_depth[kPitch];
  GrowingBuffer<A> pixels, sums, line;
};

// Rows and columns of equal tiles, their widths in whole vectors.
struct Tiling {
  int64_t height, width, down, across;

  explicit Tiling(const WarpArgs& args) {
    down = (args.out_height + kTile - 1) / kTile;
    across = (args.out_width + kTile - 1) / kTile;
    height = down == 0 ? 0 : (args.out_height + down - 1) / down;
    width = across == 0 ? 0 : ((args.out_width + across - 1) / across + 7) / 8 * 8;
  }

  Tile at(const WarpArgs& args, int64_t row, int64_t column) const {
    const int64_t top = row * height, left = column * width;
    const int64_t rest = std::max<int64_t>(0, args.out_width - left);
    return {top, left, std::min(height, args.out_height - top), std::min(width, rest)};
  }
};

template <typename T>
Planes<const T> image_of(const void* data, const Strides& strides, int64_t image) {
  return {static_cast<const T*>(data) + image * strides.image, strides.channel, strides.row, strides.column};
}

template <typename T>
Planes<T> image_of(void* data, const Strides& strides, int64_t image) {
  return {static_cast<T*>(data) + image * strides.image, strides.channel, strides.row, strides.column};
}

// Finds points and taps of a tile. False when its points are too many: then `visit` has been called with its halves.
template <typename A, int K, typename Visit>
bool prepare(
    const WarpArgs& args, const PointMap& map, const Tile& tile, bool slopes, Workspace<A, K>& work,
    const Visit& visit) {
  Points& points = work.points;
  if (!points.spread(map, tile, args.antialias)) {
    Tile first = tile, second = tile;
    if (tile.height >= tile.width) {
      first.height = tile.height / 2;
      second.top += first.height;
      second.height -= first.height;
    } else {
      first.width = tile.width / 2;
      second.left += first.width;
      second.width -= first.width;
    }
    visit(first);
    visit(second);
    return false;
  }
  points.locate(map);
  find_taps<A, K>(args.padding, points.x, points.size, args.width, slopes, work.x);
  find_taps<A, K>(args.padding, points.y, points.size, args.height, slopes, work.y);
  return true;
}

// The smallest frame, widened to whole vectors; height -1 where the points lie too far apart for one.
template <typename A, int K>
__attribute__((noinline)) Frame find_frame(const WarpArgs& args, const Workspace<A, K>& work) {
  Frame frame;
  find_span(work.x, work.points.size, frame.left, frame.width);
  find_span(work.y, work.points.size, frame.top, frame.height);
  const int64_t right = std::min(args.width, (frame.left + frame.width + 7) / 8 * 8);
  frame.left = frame.left / 8 * 8;
  frame.width = frame.width == 0 ? 0 : right - frame.left;
  // Copying a pixel for one point alone costs about eight times as much as in a row; 2^18 pixels fill a cache.
  constexpr int64_t kMost = int64_t{1} << 18;
  const bool close = frame.height <= kMost && frame.width <= kMost &&
                     frame.pixels() <= std::min(kMost, 8 * K * K * work.points.size + 1024);
  if (!close) frame.height = -1;
  return frame;
}

// Finds the pixels of the points in the copy: in the frame, or K x K for each point where there is none.
template <typename A, int K>
__attribute__((noinline)) void place_taps(const Frame& frame, Workspace<A, K>& work) {
  const int32_t left = static_cast<int32_t>(frame.left), top = static_cast<int32_t>(frame.top);
  const int32_t pitch = static_cast<int32_t>(frame.pitch());
  const int32_t no_column = static_cast<int32_t>(frame.width), no_row = static_cast<int32_t>(frame.height) * pitch;
  for (int k = 0; k < K; ++k) {
    for (int64_t i = 0; i < work.points.size; ++i) {
      const int32_t column = work.x.index[k][i], row = work.y.index[k][i];
      work.column[k][i] = !frame.exists() ? k : column < 0 ? no_column : column - left;
      work.row[k][i] = !frame.exists() ? (static_cast<int32_t>(i) * K + k) * K : row < 0 ? no_row : (row - top) * pitch;
    }
  }
}

template <typename T, typename A>
void copy_frame(const Planes<const T>& image, const Frame& frame, int64_t channels, int64_t block, A* pixels) {
  for (int64_t row = 0; row < frame.height; ++row) {
    A* line = pixels + row * frame.pitch() * block;
    pack_row<T, A>(image, frame.top + row, frame.left, frame.width, channels, block, line);
    std::fill_n(line + frame.width * block, block, A(0));
  }
  std::fill_n(pixels + frame.height * frame.pitch() * block, frame.pitch() * block, A(0));
}

// The pixels of the points for a block of channels: the frame, or K x K pixels for each point where there is none.
template <typename T, typename A, int K>
A* copy_pixels(
    const Planes<const T>& image, const Frame& frame, int64_t channels, int64_t block, Workspace<A, K>& work) {
  if (frame.exists()) {
    A* pixels = work.pixels.of(frame.pixels() * block);
    copy_frame<T, A>(image, frame, channels, block, pixels);
    return pixels;
  }
  A* pixels = work.pixels.of(work.points.size * K * K * block);
  A* pixel = pixels;
  for (int64_t i = 0; i < work.points.size; ++i) {
    for (int a = 0; a < K; ++a) {
      for (int b = 0; b < K; ++b, pixel += block) {
        const int64_t row = work.y.index[a][i], column = work.x.index[b][i];
        std::fill_n(pixel, block, A(0));
        if (row < 0 || column < 0) continue;
        const T* source = image.at(0, row, column);
        for (int64_t c = 0; c < channels; ++c) pixel[c] = widen<A>(source[c * image.channel]);
      }
    }
  }
  return pixels;
}

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
    const WarpArgs& args, const PointMap& map, int64_t image, const Tile& tile, int64_t first, int64_t last,
    Workspace<A, K>& work) {
  constexpr int64_t kBlock = V * kLanes<A>;
  if (tile.height == 0 || tile.width == 0) return;
  const auto visit = [&](const Tile& part) { forward_tile<V, K, T, A>(args, map, image, part, first, last, work); };
  if (!prepare(args, map, tile, false, work, visit)) return;
  const Frame frame = find_frame(args, work);
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

// What one point adds to the gradients: to `sums`, if any, and in the return values the lanes of those to its
// coordinates.
template <int V, int K, typename A>
inline void visit_sample(
    const Workspace<A, K>& work, const A* pixels, A* sums, int64_t i, const Vec<A>* grad, Vec<A>* slopes) {
  constexpr int64_t kBlock = V * kLanes<A>;
  if (sums != nullptr) {
    for (int a = 0; a < K; ++a) {
      for (int b = 0; b < K; ++b) {
        A* sum = sums + (int64_t{work.row[a][i]} + work.column[b][i]) * kBlock;
        const A weight = work.y.weight[a][i] * work.x.weight[b][i];
        for (int v = 0; v < V; ++v) {
          store<A>(sum + v * kLanes<A>, load<A>(sum + v * kLanes<A>) + grad[v] * weight);
        }
      }
    }
  }
  if (pixels == nullptr) return;
  Vec<A> along_x[V] = {}, along_y[V] = {};
  for (int a = 0; a < K; ++a) {
    Vec<A> line[V] = {}, slope[V] = {};
    for (int b = 0; b < K; ++b) {
      const A* pixel = pixels + (int64_t{work.row[a][i]} + work.column[b][i]) * kBlock;
      for (int v = 0; v < V; ++v) {
        const Vec<A> value = load<A>(pixel + v * kLanes<A>);
        line[v] += value * work.x.weight[b][i];
        slope[v] += value * work.x.slope[b][i];
      }
    }
    for (int v = 0; v < V; ++v) {
      along_x[v] += slope[v] * work.y.weight[a][i];
      along_y[v] += line[v] * work.y.slope[a][i];
    }
  }
  slopes[0] = along_x[0] * grad[0];
  slopes[1] = along_y[0] * grad[0];
  for (int v = 1; v < V; ++v) {
    slopes[0] += along_x[v] * grad[v];
    slopes[1] += along_y[v] * grad[v];
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
    const WarpArgs& args, const PointMap& map, int64_t image, int64_t block, const Tile& tile, A* sums, const A* pixels,
    double* matrix_sums, Workspace<A, K>& work) {
  constexpr int64_t kBlock = V * kLanes<A>;
  if (tile.height == 0 || tile.width == 0) return;
  const auto visit = [&](const Tile& part) {
    backward_tile<V, K, T, A>(args, map, image, block, part, sums, pixels, matrix_sums, work);
  };
  if (!prepare(args, map, tile, matrix_sums != nullptr, work, visit)) return;
  const int64_t channel = block * kBlock, channels = std::min(kBlock, args.channels - channel);
  const Frame frame = sums != nullptr ? Frame{0, 0, args.height, args.width} : find_frame(args, work);
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
  const PointMap map = read_map(args, image);
  const Frame whole{0, 0, args.height, args.width};
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
      backward_tile<V, K, T, A>(
          args, map, image, block, tiling.at(args, row, column), sums, pixels, matrix_sums, work);
    }
  }
  if (sums == nullptr) return;
  const Planes<T> grad_input = image_of<T>(args.grad_input, args.grad_input_strides, image).from(channel);
  for (int64_t row = 0; row < args.height; ++row) {
    unpack_row<T, A>(sums + row * whole.pitch() * kBlock, kBlock, grad_input, row, 0, args.width, channels);
  }
}

// Runs body(task, workspace) for all tasks on the pool, each thread taking the next one that is left.
template <typename A, int K, typename Body>
void for_tasks(const WarpArgs& args, int64_t tasks, const Body& body) {
  std::atomic<int64_t> next{0};
  for_ranges(args.parallel_for, 0, std::min(args.threads, tasks), 1, [&](int64_t, int64_t) {
    const std::unique_ptr<Workspace<A, K>> work(new Workspace<A, K>);  // not cleared
    for (int64_t task = next++; task < tasks; task = next++) body(task, *work);
  });
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
        args, read_map(args, image), image, tiling.at(args, row, column), part * each,
        std::min(blocks, (part + 1) * each), work);
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

// Calls run<V, K, T, A> for the arguments. Two vectors of channels a block, unless one holds them all or the blocks
// would be few; the rule goes by sizes alone, because the blocks decide the order of the sums for the matrix.
template <bool kForward, typename T, typename A>
void dispatch(const WarpArgs& args) {
  const bool wide = args.channels > kLanes<A> && args.images * args.channels >= 16 * kLanes<A>;
  const auto run = [&]<int V, int K>() {
    kForward ? forward<V, K, T, A>(args) : backward<V, K, T, A>(args);
  };
  switch (args.mode) {
    case WarpMode::kNearest: return wide ? run.template operator()<2, 1>() : run.template operator()<1, 1>();
    case WarpMode::kBilinear: return wide ? run.template operator()<2, 2>() : run.template operator()<1, 2>();
    case WarpMode::kBicubic: return wide ? run.template operator()<2, 4>() : run.template operator()<1, 4>();
  }
}

template <bool kForward>
void dispatch(const WarpArgs& args) {
  switch (args.element) {
    case Element::kFloat64: return dispatch<kForward, double, double>(args);
    case Element::kFloat32: return dispatch<kForward, float, float>(args);
    case Element::kFloat16: return dispatch<kForward, Float16, float>(args);
    case Element::kBFloat16: return dispatch<kForward, BFloat16, float>(args);
  }
}

}  // namespace

void warp_sample_forward(const WarpArgs& args) { dispatch<true>(args); }

void warp_sample_backward(const WarpArgs& args) { dispatch<false>(args); }

}  // namespace stn_det::STN_DET_ISA
