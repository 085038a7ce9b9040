// Fused warp and sampling on CUDA, backward.
//
// The gradient to a matrix is nine sums over all points: of a thread, of the threads of a block and, in a kernel of its
// own, of the blocks, always in the same order.
#include "warp_scatter.h"

namespace stn_det::cuda {

bool warp_sample_backward_packs(const WarpArgs& args, const WarpGrid& grid);

namespace {

constexpr int kAddThreads = 256;

// A block adds one entry of one matrix.
__global__ void __launch_bounds__(kAddThreads) add_partial_sums(WarpArgs args, int64_t blocks) {
  const int entries = static_cast<int>(3 * args.matrix_rows);
  const int64_t image = blockIdx.x / entries;
  const int entry = static_cast<int>(blockIdx.x % entries);
  const double* partial = args.partial_sums + image * blocks * 9 + entry;
  double sum = 0;
  for (int64_t i = threadIdx.x; i < blocks; i += kAddThreads) sum += partial[i * 9];
  __shared__ double parts[kAddThreads / 32];
  for (int bits = 16; bits > 0; bits /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, bits);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  sum = 0;
  for (int warp = 0; warp < kAddThreads / 32; ++warp) sum += parts[warp];
  args.grad_matrix[blockIdx.x] = sum;
}

}  // namespace

void warp_sample_backward(const WarpArgs& args) {
  const WarpGrid grid(args);
  if (args.sums != nullptr || args.partial_sums != nullptr) {
    if (!warp_sample_backward_packs(args, grid)) scatter_pixels<MatrixPoints>(args, grid);
  }
  if (args.grad_matrix != nullptr) {
    const int64_t blocks = args.partial_sums == nullptr ? 0 : grid.blocks();
    launch(
        "add_partial_sums", add_partial_sums, blocks_for(args.images * args.matrix_rows * 3, 1), kAddThreads, 0,
        args.stream, args, blocks);
  }
  round_gradient(args);
}

}  // namespace stn_det::cuda
