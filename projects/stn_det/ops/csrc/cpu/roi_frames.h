// The frames of RoIs on the host; for the entry points only. Compiled once, without fused multiply-add.
#pragma once

#include <torch/headeronly/util/Exception.h>

#include <vector>

#include "../common/roi_frames.h"

namespace stn_det {

// Frames of rois (R, 5 or 6). A RoI that is not finite reads nothing.
template <typename A>
std::vector<Frame<A>> find_frames(const A* rois, int64_t count, int64_t images, const RoiOptions& options) {
  const int64_t size = options.rotated ? 6 : 5;
  std::vector<Frame<A>> frames(count);
  for (int64_t i = 0; i < count; ++i) {
    const A* roi = rois + i * size;
    if (!is_finite(roi, options.rotated)) {
      frames[i].image = -1;
      continue;
    }
    STD_TORCH_CHECK(
        is_known_image(roi[0], images), "rois[", i, "] has batch index ", roi[0], ", expected one of the ", images,
        " images of input");
    frames[i] = find_frame(roi, options);
    frames[i].image = static_cast<int64_t>(roi[0]);
  }
  return frames;
}

}  // namespace stn_det
