// Reading at given points on CUDA, backward.
//
// The gradient to a point is written by the one block that visits it or, where blocks share the channels out, kept for
// each of them and added in a kernel of its own.
#include "warp_scatter.h"

namespace stn_det::cuda {

bool remap_backward_packs(const WarpArgs& args, const WarpGrid& grid);

namespace {

constexpr int kAddThreads = 256;

// A thread adds the parts of one coordinate of a point, always in the same order.
template <typename P>
__global__ void __launch_bounds__(kAddThreads) add_partial_slopes(
    const double* partial, P* out, int64_t count, int64_t parts) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kAddThreads + threadIdx.x;
  if (i >= count) return;
  double sum = 0;
  for (int64_t part = 0; part < parts; ++part) sum += partial[part * count + i];
  out[i] = static_cast<P>(sum);
}

}  // namespace

void remap_backward(const WarpArgs& args) {
  const WarpGrid grid(args);
  if (args.sums != nullptr || args.grad_points != nullptr) {
    if (!remap_backward_packs(args, grid)) scatter_pixels<GivenPoints>(args, grid);
  }
  if (args.grad_points != nullptr && args.partial_slopes != nullptr) {
    for_wide_element(args.points_element, [&](auto element) {
      using P = decltype(element);
      const int64_t count = args.images * args.out_height * args.out_width * 2;
      launch(
          "add_partial_slopes", add_partial_slopes<P>, blocks_for(count, kAddThreads), kAddThreads, 0, args.stream,
          static_cast<const double*>(args.partial_slopes), static_cast<P*>(args.grad_points), count, grid.parts);
    });
  }
  round_gradient(args);
}

}  // namespace stn_det::cuda
