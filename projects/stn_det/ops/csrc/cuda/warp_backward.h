// What both kernels of the backward pass share: where the slopes of the points go. They are added for a matrix, and
// written for points that are given.
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

// Writes the slopes of the loss to the coordinates of a given point, or what the block's channels contribute to them.
__device__ __forceinline__ void write_slopes(
    const WarpArgs& args, const BlockPlace& block, const Pixel& pixel, double slope_x, double slope_y) {
  const int64_t pixels = args.out_height * args.out_width;
  const int64_t at = (block.image * pixels + pixel.row * args.out_width + pixel.column) * 2;
  if (args.partial_slopes != nullptr) {
    double* out = args.partial_slopes + block.part * args.images * pixels * 2 + at;
    out[0] = slope_x;
    out[1] = slope_y;
  } else if (args.points_element == Element::kFloat64) {
    double* out = static_cast<double*>(args.grad_points) + at;
    out[0] = slope_x;
    out[1] = slope_y;
  } else {
    float* out = static_cast<float*>(args.grad_points) + at;
    out[0] = static_cast<float>(slope_x);
    out[1] = static_cast<float>(slope_y);
  }
}

// The same where `step` threads share a pixel of the tile, a whole tile apart. All threads of the block have to come.
__device__ __forceinline__ void write_slopes(
    const WarpArgs& args, const BlockPlace& block, const Pixel& pixel, double slope_x, double slope_y, int pixels,
    int step, double (*memory)[kThreads]) {
  if (step > 1) {
    memory[0][threadIdx.x] = slope_x;
    memory[1][threadIdx.x] = slope_y;
    __syncthreads();
    for (int sub = 1; sub < step && static_cast<int>(threadIdx.x) < pixels; ++sub) {
      slope_x += memory[0][sub * pixels + threadIdx.x];
      slope_y += memory[1][sub * pixels + threadIdx.x];
    }
  }
  if (static_cast<int>(threadIdx.x) < pixels && pixel.points() > 0) {
    write_slopes(args, block, pixel, slope_x, slope_y);
  }
}

// Whether the points want slopes.
template <typename Source>
__device__ __forceinline__ bool wants_slopes(const WarpArgs& args) {
  return Source::kGiven ? args.grad_points != nullptr : args.partial_sums != nullptr;
}

}  // namespace stn_det::cuda
