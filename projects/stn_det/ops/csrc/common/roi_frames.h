// RoIs as affine maps and back. The number of points of the adaptive grid jumps, and has to come out as in plain
// PyTorch: products that decide it are rounded before anything is added. Entry points are compiled without fused
// multiply-add, kernels of CUDA with it.
#pragma once

#include <cmath>

#include "../entry/roi_align.h"
#include "inline.h"

namespace stn_det {

constexpr int64_t kMaxGrid = 256;  // points a bin and axis, as in Python

#if defined(__CUDA_ARCH__) || defined(STN_DET_EMULATOR)
STN_DET_INLINE float rounded_product(float a, float b) { return __fmul_rn(a, b); }
STN_DET_INLINE double rounded_product(double a, double b) { return __dmul_rn(a, b); }
#else
STN_DET_INLINE float rounded_product(float a, float b) { return a * b; }
STN_DET_INLINE double rounded_product(double a, double b) { return a * b; }
#endif

template <typename A>
STN_DET_INLINE int64_t grid_size(A size, int64_t bins, int64_t sampling_ratio) {
  if (sampling_ratio > 0) return sampling_ratio;
  const A cells = std::ceil(size / static_cast<A>(bins));
  if (!(cells > 0)) return 0;  // also NaN
  return cells < kMaxGrid ? static_cast<int64_t>(cells) : kMaxGrid;
}

// Whether all numbers of a RoI (5 or 6) are finite.
template <typename A>
STN_DET_INLINE bool is_finite(const A* roi, bool rotated) {
  bool finite = true;
  for (int k = 0; k < (rotated ? 6 : 5); ++k) finite = finite && std::isfinite(roi[k]);
  return finite;
}

// Whether the batch index of a finite RoI is one of the images; a fraction of it is dropped.
template <typename A>
STN_DET_INLINE bool is_known_image(A index, int64_t images) {
  return index > -1 && index < static_cast<A>(images);
}

// The frame of a finite RoI, but for its image.
template <typename A>
STN_DET_INLINE Frame<A> find_frame(const A* roi, const RoiOptions& options) {
  const A scale = static_cast<A>(options.scale);
  const A shift = options.aligned ? A(0.5) : A(0);
  const auto scaled = [&](A x) { return rounded_product(x, scale); };
  Frame<A> frame{};
  A width, height;
  if (options.rotated) {
    width = scaled(roi[3]);
    height = scaled(roi[4]);
  } else {
    width = (scaled(roi[3]) - shift) - (scaled(roi[1]) - shift);
    height = (scaled(roi[4]) - shift) - (scaled(roi[2]) - shift);
  }
  if (!options.aligned) {
    width = width < 1 ? A(1) : width;
    height = height < 1 ? A(1) : height;
  }
  frame.origin_x = scaled(roi[1]) - shift;
  frame.origin_y = scaled(roi[2]) - shift;
  frame.across_x = width;
  frame.down_y = height;
  if (options.rotated) {
    const A theta = options.clockwise ? roi[5] : -roi[5];
    const A cos = std::cos(theta), sin = std::sin(theta);
    frame.centre = A(0.5);
    frame.across_x = cos * width;
    frame.across_y = sin * width;
    frame.down_x = -sin * height;
    frame.down_y = cos * height;
  }
  frame.grid_y = grid_size(height, options.rows, options.sampling_ratio);
  frame.grid_x = grid_size(width, options.columns, options.sampling_ratio);
  return frame;
}

// Gradient to a rotated RoI (6) from that to its frame: origin, down, across, each (y, x).
template <typename A>
STN_DET_INLINE void frame_to_roi_gradient(const A* roi, const double* grad, const RoiOptions& options, A* grad_roi) {
  bool zero = true;
  for (int k = 0; k < 6; ++k) {
    grad_roi[k] = 0;
    zero = zero && grad[k] == 0;
  }
  // A RoI that reads nothing may be NaN or have overflowed, and 0 times that would not be 0.
  if (zero) return;
  const double scale = static_cast<A>(options.scale), sign = options.clockwise ? 1 : -1;
  const A scaled_width = roi[3] * static_cast<A>(options.scale), scaled_height = roi[4] * static_cast<A>(options.scale);
  const bool width_free = options.aligned || scaled_width >= 1, height_free = options.aligned || scaled_height >= 1;
  const double width = width_free ? scaled_width : 1, height = height_free ? scaled_height : 1;
  const double cos = std::cos(sign * roi[5]), sin = std::sin(sign * roi[5]);
  const double down_y = grad[2], down_x = grad[3], across_y = grad[4], across_x = grad[5];
  grad_roi[1] = static_cast<A>(grad[1] * scale);
  grad_roi[2] = static_cast<A>(grad[0] * scale);
  grad_roi[3] = static_cast<A>(width_free ? (cos * across_x + sin * across_y) * scale : 0);
  grad_roi[4] = static_cast<A>(height_free ? (cos * down_y - sin * down_x) * scale : 0);
  const double turn = width * (cos * across_y - sin * across_x) - height * (cos * down_x + sin * down_y);
  grad_roi[5] = static_cast<A>(sign * turn);
}

}  // namespace stn_det
