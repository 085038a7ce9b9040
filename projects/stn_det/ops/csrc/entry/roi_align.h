// What the host code and the kernels of RoIAlign share, axis-aligned and rotated.
//
// Letters: N images, C channels, H x W pixels, R RoIs of ph x pw bins.
#pragma once

#include <cstdint>

#include "machine.h"

namespace stn_det {

constexpr int64_t kRoiParts = 8;  // blocks of CUDA that share the gradient of a RoI, at most

struct RoiOptions {
  bool rotated;             // rois are (image, cx, cy, w, h, theta), else (image, x1, y1, x2, y2)
  int64_t rows, columns;    // ph, pw
  double scale;             // feature pixels per image pixel
  int64_t sampling_ratio;   // 0: adaptive
  bool aligned, clockwise;
};

// A RoI as an affine map: its point at the fractions v of the height and u of the width lies at the feature pixel
//   origin + (v - centre) * down + (u - centre) * across,
// where pixel centres are whole numbers. Axis-aligned RoIs count from their corner (centre = 0), rotated ones from
// their middle (centre = 0.5).
template <typename A>
struct Frame {
  int64_t image;           // -1: the RoI reads nothing
  int64_t grid_y, grid_x;  // points a bin and axis; 0: no point
  A centre;
  A origin_y, origin_x, down_y, down_x, across_y, across_x;

  constexpr bool reads() const { return image >= 0 && grid_y > 0 && grid_x > 0; }
  constexpr bool upright() const { return down_x == 0 && across_y == 0; }
};

// Sums, coordinates and weights are float64 where the features are float64, else float32; below: the summation type.
struct RoiArgs : Machine, RoiOptions {
  int64_t images, channels, height, width;
  int64_t rois;                 // R
  Element element;              // of input and output
  const void* regions;          // (R, 5 or 6) of the summation type; CUDA
  void* frames;                 // (R,) Frame of the summation type; CUDA: written first, from the regions
  const void* input;            // (N, C, H, W), or (N, H, W, C) if channels_last
  bool channels_last;
  void* pixels;                 // (N, H, W, C) to work in, for kernels that read all channels of a pixel at once;
                                // CUDA: where that pays, with rows of channels filled up to whole packs of 16 bytes;
                                // sums of the gradient of the input are zeros at first
  void* output;                 // (R, C, ph, pw) of the element type
  int32_t* argmax;              // (R, C, ph, pw) point of the bin, row by row; maximum only
  const void* grad_output;      // (R, C, ph, pw) of the summation type
  void* grad_input;             // (N, C, H, W) of the summation type; every element is written, or CUDA without
                                // `pixels`: zeros at first
  double* grad_frames;          // (R, 6): origin, down, across, each (y, x); every element is written; CUDA:
                                // room for (R, kRoiParts, 6)
  void* grad_rois;              // (R, 6) of the summation type; every element is written; CUDA
};

#define STN_DET_ROI_KERNELS                                \
  void roi_align_forward(const RoiArgs& args);             \
  void roi_align_backward_input(const RoiArgs& args);      \
  void roi_align_backward_frames(const RoiArgs& args);     \
  void roi_align_max_forward(const RoiArgs& args);         \
  void roi_align_max_backward(const RoiArgs& args);

namespace baseline {
STN_DET_ROI_KERNELS
}  // namespace baseline

namespace avx2 {
STN_DET_ROI_KERNELS
}  // namespace avx2

namespace cuda {
STN_DET_ROI_KERNELS
}  // namespace cuda

#undef STN_DET_ROI_KERNELS

}  // namespace stn_det
