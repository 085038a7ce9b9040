// What the host code and the kernels of deformable convolution share.
//
// Letters: N images, H x W pixels and C channels in, h x w pixels out, K = kh * kw kernel points, G groups of the
// convolution, D groups of channels that share offsets, P output pixels in the range [first, last).
#pragma once

#include <cstdint>

#include "machine.h"

namespace stn_det {

// Offset and mask, their gradients and that of the input are float64 where the input is float64, else float32: an
// offset of 16 bits would be off by pixels. Columns have the dtype of the input, on the CPU float64 or float32.
struct DeformArgs : Machine {
  int64_t images, height, width, channels, out_height, out_width;
  int64_t kernel[2], stride[2], padding[2], dilation[2];  // vertical, horizontal
  int64_t groups, offset_groups;
  int64_t first, last;          // of the N * h * w output pixels, counted image by image and row by row
  Element element;              // of input
  const void* input;            // (N, H, W, C)
  const void* offset;           // (N, D * K * 2, h, w), channels ordered [group][ky][kx][dy, dx]
  const void* mask;             // (N, D * K, h, w), channels ordered [group][ky][kx], or null
  void* columns;                // (G, P, K, C / G), forward only
  const void* grad_columns;     // as columns, backward only
  void* grad_input;             // shaped as input, is added to; or null
  void* grad_offset;            // as offset, written for the pixels of the range; or null
  void* grad_mask;              // as mask, written for the pixels of the range; or null
};

namespace baseline {
void deform_im2col_forward(const DeformArgs& args);
void deform_im2col_backward(const DeformArgs& args);
}  // namespace baseline

namespace avx2 {
void deform_im2col_forward(const DeformArgs& args);
void deform_im2col_backward(const DeformArgs& args);
}  // namespace avx2

namespace cuda {
void deform_im2col_forward(const DeformArgs& args);
void deform_im2col_backward(const DeformArgs& args);
}  // namespace cuda

}  // namespace stn_det
