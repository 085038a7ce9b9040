// From reference points or boxes and offsets to the sampling points of attention, and back.
#pragma once

#include <cmath>

#include "numbers.h"

namespace stn_det::STN_DET_ISA {

// Pixel of a point from its offset: (x, y) = (origin_x, origin_y) + [[xx, xy], [yx, yy]] (offset_x, offset_y).
template <typename A>
struct PointFrame {
  A origin_x, origin_y, xx, xy, yx, yy;
};

template <typename A>
STN_DET_INLINE PointFrame<A> frame_of(const A* reference, int64_t size, A height, A width, int64_t points) {
  PointFrame<A> frame = {reference[0] * width - A(0.5), reference[1] * height - A(0.5), 1, 0, 0, 1};
  if (size == 2) return frame;
  const A half_w = reference[2] * width / static_cast<A>(2 * points);
  const A half_h = reference[3] * height / static_cast<A>(2 * points);
  const A cosine = size == 5 ? std::cos(reference[4]) : A(1), sine = size == 5 ? std::sin(reference[4]) : A(0);
  frame.xx = cosine * half_w;
  frame.xy = -sine * half_h;
  frame.yx = sine * half_w;
  frame.yy = cosine * half_h;
  return frame;
}

// The chain rule through frame_of.
template <typename A>
STN_DET_INLINE void frame_backward(
    const A* reference, int64_t size, A height, A width, int64_t points, const PointFrame<A>& grad, A* grad_reference) {
  grad_reference[0] = grad.origin_x * width;
  grad_reference[1] = grad.origin_y * height;
  if (size == 2) return;
  const A unit_w = width / static_cast<A>(2 * points), unit_h = height / static_cast<A>(2 * points);
  const A cosine = size == 5 ? std::cos(reference[4]) : A(1), sine = size == 5 ? std::sin(reference[4]) : A(0);
  grad_reference[2] = (grad.xx * cosine + grad.yx * sine) * unit_w;
  grad_reference[3] = (grad.yy * cosine - grad.xy * sine) * unit_h;
  if (size == 4) return;
  grad_reference[4] = reference[2] * unit_w * (grad.yx * cosine - grad.xx * sine) -
                      reference[3] * unit_h * (grad.xy * cosine + grad.yy * sine);
}

}  // namespace stn_det::STN_DET_ISA
