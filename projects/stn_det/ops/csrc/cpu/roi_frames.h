// RoIs as affine maps and back; for the entry points only. Compiled once, without fused multiply-add, so that the
// number of points of the adaptive grid, which jumps, comes out as in plain PyTorch.
#pragma once

#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "../entry/roi_align.h"

namespace stn_det {

constexpr int64_t kMaxGrid = 256;  // points a bin and axis, as in Python

struct RoiOptions {
  bool rotated;             // rois are (image, cx, cy, w, h, theta), else (image, x1, y1, x2, y2)
  int64_t rows, columns;    // ph, pw
  double scale;             // feature pixels per image pixel
  int64_t sampling_ratio;   // 0: adaptive
  bool aligned, clockwise;
};

template <typename A>
inline int64_t grid_size(A size, int64_t bins, int64_t sampling_ratio) {
  if (sampling_ratio > 0) return sampling_ratio;
  const A cells = std::ceil(size / static_cast<A>(bins));
  if (!(cells > 0)) return 0;  // also NaN
  return cells < kMaxGrid ? static_cast<int64_t>(cells) : kMaxGrid;
}

template <typename A>
Frame<A> find_frame(const A* roi, const RoiOptions& options) {
  const A scale = static_cast<A>(options.scale);
  const A shift = options.aligned ? A(0.5) : A(0);
  Frame<A> frame{};
  A width, height;
  if (options.rotated) {
    width = roi[3] * scale;
    height = roi[4] * scale;
  } else {
    width = (roi[3] * scale - shift) - (roi[1] * scale - shift);
    height = (roi[4] * scale - shift) - (roi[2] * scale - shift);
  }
  if (!options.aligned) {
    width = width < 1 ? A(1) : width;
    height = height < 1 ? A(1) : height;
  }
  frame.origin_x = roi[1] * scale - shift;
  frame.origin_y = roi[2] * scale - shift;
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

// Frames of rois (R, 5 or 6). A RoI that is not finite reads nothing.
template <typename A>
std::vector<Frame<A>> find_frames(const A* rois, int64_t count, int64_t images, const RoiOptions& options) {
  const int64_t size = options.rotated ? 6 : 5;
  std::vector<Frame<A>> frames(count);
  for (int64_t i = 0; i < count; ++i) {
    const A* roi = rois + i * size;
    bool finite = true;
    for (int64_t k = 0; k < size; ++k) finite = finite && std::isfinite(roi[k]);
    if (!finite) {
      frames[i].image = -1;
      continue;
    }
    STD_TORCH_CHECK(
        roi[0] > -1 && roi[0] < static_cast<A>(images), "rois[", i, "] has batch index ", roi[0],
        ", expected one of the ", images, " images of input");
    frames[i] = find_frame(roi, options);
    frames[i].image = static_cast<int64_t>(roi[0]);
  }
  return frames;
}

// Gradient to a rotated RoI (6) from that to its frame: origin, down, across, each (y, x).
template <typename A>
void frame_to_roi_gradient(const A* roi, const double* grad, const RoiOptions& options, A* grad_roi) {
  std::fill_n(grad_roi, 6, A(0));
  // A RoI that reads nothing may be NaN or have overflowed, and 0 times that would not be 0.
  if (std::all_of(grad, grad + 6, [](double part) { return part == 0; })) return;
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
