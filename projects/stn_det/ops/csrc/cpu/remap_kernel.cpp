// Reading at given points on the CPU; compiled once per instruction set.
//
//   output[n, c, i, j] = sum_ab row_a(p) column_b(p) input[n, c, a, b],  p = points[n, i, j]
//
// The result and the gradient to the input are the warp's, whose kernels take points too (warp_sample_kernel.cpp). Here
// is the gradient to the points: a task is a tile of an image and goes through all channels, block by block, so that it
// alone writes the gradients to its points, and nothing is left to add. Neither the number of threads nor the size of
// the tiles changes the order of a sum.
#include "warp_frames.h"

namespace stn_det::STN_DET_ISA {
namespace {

// Whether a point reads any pixel, be it with weight 0. Without, it has no slope, whatever the gradient of the output.
template <typename A, int K>
bool reads(const Workspace<A, K>& work, int64_t i) {
  int32_t column = -1, row = -1;
  for (int k = 0; k < K; ++k) {
    column = std::max(column, work.x.index[k][i]);
    row = std::max(row, work.y.index[k][i]);
  }
  return column >= 0 && row >= 0;
}

// Writes the slopes of a tile's points.
template <typename P, typename A, int K>
void write_slopes(const WarpArgs& args, int64_t image, const Tile& tile, const Workspace<A, K>& work) {
  P* out = static_cast<P*>(args.grad_points) + image * args.out_height * args.out_width * 2;
  int64_t point = 0;
  for (int64_t row = tile.top; row < tile.top + tile.height; ++row) {
    P* line = out + (row * args.out_width + tile.left) * 2;
    for (int64_t i = 0; i < tile.width; ++i, ++point) {
      const bool slopes = reads(work, point);
      line[2 * i] = static_cast<P>(slopes ? work.slope_x[point] : 0.0);
      line[2 * i + 1] = static_cast<P>(slopes ? work.slope_y[point] : 0.0);
    }
  }
}

template <int V, int K, typename T, typename A>
void visit_tile(const WarpArgs& args, int64_t image, const Tile& tile, Workspace<A, K>& work) {
  constexpr int64_t kBlock = V * kLanes<A>;
  if (tile.height == 0 || tile.width == 0) return;
  prepare(args, image, tile, true, work, [](const Tile&) {});
  const SourceFrame frame = find_frame(args, work);
  place_taps(frame, work);
  std::fill_n(work.slope_x, work.points.size, 0.0);
  std::fill_n(work.slope_y, work.points.size, 0.0);
  A* line = work.line.of(kTile * kBlock);
  for (int64_t channel = 0; channel < args.channels; channel += kBlock) {
    const int64_t channels = std::min(kBlock, args.channels - channel);
    const Planes<const T> input = image_of<T>(args.input, args.input_strides, image).from(channel);
    const Planes<const T> grads = image_of<T>(args.grad_output, args.grad_output_strides, image).from(channel);
    const A* pixels = copy_pixels<T, A, K>(input, frame, channels, kBlock, work);
    int64_t point = 0;
    for (int64_t row = 0; row < tile.height; ++row) {
      pack_row<T, A>(grads, tile.top + row, tile.left, tile.width, channels, kBlock, line);
      for (int64_t column = 0; column < tile.width; ++column, ++point) {
        Vec<A> grad[V], slopes[4] = {};
        for (int v = 0; v < V; ++v) grad[v] = load<A>(line + column * kBlock + v * kLanes<A>);
        visit_sample<V, K, A>(work, pixels, nullptr, point, grad, slopes);
        A along[4];
        sum_four<A>(slopes, along);
        work.slope_x[point] += static_cast<double>(along[0]);
        work.slope_y[point] += static_cast<double>(along[1]);
      }
    }
  }
  args.points_element == Element::kFloat64 ? write_slopes<double>(args, image, tile, work)
                                           : write_slopes<float>(args, image, tile, work);
}

// Smaller tiles than elsewhere when there are few: nothing else of a tile could be shared out.
Tiling share_out(const WarpArgs& args) {
  int64_t side = kTile;
  Tiling tiling(args, side);
  while (args.threads > 1 && args.images * tiling.down * tiling.across < 2 * args.threads && side > 8) {
    side /= 2;
    tiling = Tiling(args, side);
  }
  return tiling;
}

template <int V, int K, typename T, typename A>
void points_backward(const WarpArgs& args) {
  const Tiling tiling = share_out(args);
  for_tasks<A, K>(args, args.images * tiling.down * tiling.across, [&](int64_t task, Workspace<A, K>& work) {
    const int64_t column = task % tiling.across, row = task / tiling.across % tiling.down;
    visit_tile<V, K, T, A>(args, task / tiling.across / tiling.down, tiling.at(args, row, column), work);
  });
}

}  // namespace

void remap_forward(const WarpArgs& args) { warp_sample_forward(args); }

void remap_backward(const WarpArgs& args) {
  if (args.grad_input != nullptr) warp_sample_backward(args);
  if (args.grad_points == nullptr) return;
  for_element_and_taps(args, [&]<int V, int K, typename T, typename A>() {
    if constexpr (K > 1) points_backward<V, K, T, A>(args);  // the entry writes the zeros of 'nearest'
  });
}

}  // namespace stn_det::STN_DET_ISA
