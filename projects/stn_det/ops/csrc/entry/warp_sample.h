// What the host code and the kernels of the fused warp share.
//
// Letters: N images, C channels, (H, W) size of the source, (h, w) size of the destination.
#pragma once

#include <cstdint>

#include "machine.h"

namespace stn_det {

enum class WarpMode : int64_t { kBilinear, kNearest, kBicubic };
enum class WarpPadding : int64_t { kZeros, kBorder, kReflection };

// Strides of (N, C, H, W) in elements. The kernels want 1 for the columns or for the channels.
struct Strides {
  int64_t image, channel, row, column;
};

// Coordinates and the sums for the matrix are float64; weights and sums over pixels are float64 where the input is
// float64, else float32.
struct WarpArgs : Machine {
  int64_t images, channels, height, width, out_height, out_width;
  int64_t matrix_rows;        // 2 or 3
  WarpMode mode;
  WarpPadding padding;
  bool antialias;
  Element element;            // of all tensors but the matrices
  const void* input;          // (N, C, H, W)
  Strides input_strides;
  const double* matrix;       // (N, 2 or 3, 3), destination to source
  void* output;               // (N, C, h, w), forward only
  Strides output_strides;
  const void* grad_output;    // (N, C, h, w), backward only
  Strides grad_output_strides;
  void* grad_input;           // (N, C, H, W), or null
  Strides grad_input_strides;
  double* grad_matrix;        // as matrix, or null
};

namespace baseline {
void warp_sample_forward(const WarpArgs& args);
void warp_sample_backward(const WarpArgs& args);
}  // namespace baseline

namespace avx2 {
void warp_sample_forward(const WarpArgs& args);
void warp_sample_backward(const WarpArgs& args);
}  // namespace avx2

namespace cuda {
void warp_sample_forward(const WarpArgs& args);
void warp_sample_backward(const WarpArgs& args);
}  // namespace cuda

}  // namespace stn_det
