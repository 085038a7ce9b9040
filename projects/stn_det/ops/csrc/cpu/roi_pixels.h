// Features with the channels last, and the order in which the RoIs are worked on.
#pragma once

#include <atomic>
#include <cmath>

#include "roi_taps.h"
#include "transpose.h"

namespace stn_det::STN_DET_ISA {

constexpr int64_t kPixelsAtOnce = 64;  // whose channels are moved in one go

inline int64_t pixel_groups(const RoiArgs& args) {
  return (args.height * args.width + kPixelsAtOnce - 1) / kPixelsAtOnce;
}

// Marks the groups of pixels that a RoI may read. Generous by more than the rounding of a coordinate.
template <typename A>
void mark_groups(const RoiArgs& args, const Frame<A>& frame, char* marks) {
  if (!frame.reads()) return;
  double low[2], high[2];
  const double origin[2] = {frame.origin_y, frame.origin_x};
  const double down[2] = {frame.down_y, frame.down_x}, across[2] = {frame.across_y, frame.across_x};
  const double size[2] = {static_cast<double>(args.height), static_cast<double>(args.width)};
  const double begin = -static_cast<double>(frame.centre), end = begin + 1;
  for (int axis = 0; axis < 2; ++axis) {
    const double spread = std::abs(origin[axis]) + std::abs(down[axis]) + std::abs(across[axis]);
    const double margin = 1 + 2e-6 * spread;
    low[axis] = origin[axis] + std::min(begin * down[axis], end * down[axis]) +
                std::min(begin * across[axis], end * across[axis]) - margin;
    high[axis] = origin[axis] + std::max(begin * down[axis], end * down[axis]) +
                 std::max(begin * across[axis], end * across[axis]) + margin;
    // A coordinate that overflowed says nothing about where the points are: all pixels.
    low[axis] = low[axis] > 0 ? std::min(low[axis], size[axis] - 1) : 0;
    high[axis] = high[axis] < size[axis] - 1 ? std::max(high[axis], 0.0) : size[axis] - 1;
  }
  const int64_t left = static_cast<int64_t>(low[1]), right = static_cast<int64_t>(high[1]) + 1;
  const int64_t bottom = static_cast<int64_t>(high[0]) + 1;
  for (int64_t row = static_cast<int64_t>(low[0]); row <= std::min(bottom, args.height - 1); ++row) {
    const int64_t first = row * args.width + left, last = row * args.width + std::min(right, args.width - 1);
    for (int64_t group = first / kPixelsAtOnce; group <= last / kPixelsAtOnce; ++group) marks[group] = 1;
  }
}

// Marks (N, groups) of the pixels that the RoIs may read.
template <typename A>
std::vector<char> mark_pixels(const RoiArgs& args) {
  const int64_t groups = pixel_groups(args);
  std::vector<char> marks(args.images * groups, 0);
  const Frame<A>* frames = static_cast<const Frame<A>*>(args.frames);
  for (int64_t roi = 0; roi < args.rois; ++roi) {
    if (frames[roi].reads()) mark_groups(args, frames[roi], marks.data() + frames[roi].image * groups);
  }
  return marks;
}

// Calls body(first pixel, number of pixels) for the marked groups of an image, neighbours together.
template <typename Body>
void for_marked(const RoiArgs& args, const std::vector<char>& marks, int64_t image, const Body& body) {
  const int64_t groups = pixel_groups(args);
  const char* mark = marks.data() + image * groups;
  for (int64_t group = 0; group < groups; ++group) {
    if (!mark[group]) continue;
    const int64_t first = group;
    while (group < groups && mark[group]) ++group;
    const int64_t end = std::min(group * kPixelsAtOnce, args.height * args.width);
    body(first * kPixelsAtOnce, end - first * kPixelsAtOnce);
  }
}

// The features (N, H, W, C): the input itself, or a copy of the parts that the RoIs read.
template <typename T, typename A>
const T* channels_last_pixels(const RoiArgs& args) {
  if (args.channels_last) return static_cast<const T*>(args.input);
  const int64_t pixels = args.height * args.width, channels = args.channels, groups = pixel_groups(args);
  const std::vector<char> marks = mark_pixels<A>(args);
  const T* input = static_cast<const T*>(args.input);
  T* out = static_cast<T*>(args.pixels);
  for_ranges(args.parallel_for, 0, args.images * groups, 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (!marks[i]) continue;
      const int64_t image = i / groups, first = i % groups * kPixelsAtOnce;
      transpose(
          input + image * channels * pixels + first, pixels, out + (image * pixels + first) * channels, channels,
          channels, std::min(kPixelsAtOnce, pixels - first));
    }
  });
  return out;
}

// Calls body(next) once a thread; next() gives the numbers below `count` one after another, -1 when there are no more.
// Nobody may write what another number writes, so who gets which does not show in the result.
template <typename Body>
void share_out(const RoiArgs& args, int64_t count, const Body& body) {
  std::atomic<int64_t> next{0};
  for_ranges(args.parallel_for, 0, std::min(args.threads, count), 1, [&](int64_t, int64_t) {
    body([&] {
      const int64_t number = next++;
      return number < count ? number : -1;
    });
  });
}

}  // namespace stn_det::STN_DET_ISA
