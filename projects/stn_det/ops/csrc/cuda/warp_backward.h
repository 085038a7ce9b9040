// What both kernels of the warp's backward share: the sums for the matrix.
#pragma once

#include "warp_taps.h"

namespace stn_det::cuda {

// Entries of the gradient to a matrix, of each thread of a block: in shared memory, for 18 registers would be idle most
// of the time. A number a thread and entry, the threads side by side.
struct MatrixSums {
  double (*at)[kThreads];

  __device__ __forceinline__ MatrixSums(double (*memory)[kThreads], bool wanted) : at(memory) {
    for (int i = 0; i < 9 && wanted; ++i) at[i][threadIdx.x] = 0;
  }

  // Slopes of the loss to the coordinates of a point.
  __device__ __forceinline__ void add(const WarpPoint& point, double slope_x, double slope_y, bool with_depth) {
    const SourcePoint& source = point.source;
    slope_x *= source.inverse_depth;
    slope_y *= source.inverse_depth;
    add_row(0, point, slope_x);
    add_row(1, point, slope_y);
    if (with_depth) add_row(2, point, -(slope_x * (source.x + 0.5) + slope_y * (source.y + 0.5)));
  }

  __device__ __forceinline__ void add_row(int row, const WarpPoint& point, double slope) {
    at[3 * row][threadIdx.x] += slope * point.to_x;
    at[3 * row + 1][threadIdx.x] += slope * point.to_y;
    at[3 * row + 2][threadIdx.x] += slope;
  }

  // Adds them in an order that never changes, into the block's nine of `partial`: eight threads an entry.
  __device__ __forceinline__ void write(double* partial) const {
    constexpr int kEach = 8;
    __syncthreads();
    if (threadIdx.x >= 96) return;  // whole warps
    const int entry = static_cast<int>(threadIdx.x) / kEach, first = static_cast<int>(threadIdx.x) % kEach;
    double sum = 0;
    for (int i = first; i < kThreads && entry < 9; i += kEach) sum += at[entry][i];
    for (int bits = kEach / 2; bits > 0; bits /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, bits);
    if (entry < 9 && first == 0) partial[static_cast<int64_t>(blockIdx.x) * 9 + entry] = sum;
  }
};

// Scatters and sums with lanes side by side, unless the layout or deterministic sums forbid it: then false.
bool warp_sample_backward_packs(const WarpArgs& args, const WarpGrid& grid);

}  // namespace stn_det::cuda
