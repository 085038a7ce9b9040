// Two rotated boxes in the axes of the first: corners, overlap and gradients. Same rules for R as in box_clip.h.
#pragma once

#include "box_clip.h"

namespace stn_det::STN_DET_ISA {

// A rotated box (cx, cy, w, h, theta) with the cosine and sine of theta.
template <typename R>
struct RBox {
  R x, y, w, h, theta, cos, sin;
};

// Corners of the second box from the centre and the axes of the first.
template <typename R>
struct RotatedPair {
  R centre_x, centre_y;
  R turn_cos, turn_sin;
  R along_x, along_y, across_x, across_y;  // half the sides of the second box
  R x[4], y[4];

  // The angle between the boxes is the difference of two angles rather than made from their sines: nearly equal boxes
  // lose nothing that way.
  static STN_DET_INLINE RotatedPair of(const RBox<R>& first, const RBox<R>& second) {
    RotatedPair p;
    const R dx = second.x - first.x, dy = second.y - first.y, half = splat<R>(0.5);
    sine_and_cosine(second.theta - first.theta, p.turn_sin, p.turn_cos);
    p.along_x = half * second.w * p.turn_cos;
    p.along_y = half * second.w * p.turn_sin;
    p.across_x = -half * second.h * p.turn_sin;
    p.across_y = half * second.h * p.turn_cos;
    p.centre_x = first.cos * dx + first.sin * dy;
    p.centre_y = first.cos * dy - first.sin * dx;
    const R sum_x = p.along_x + p.across_x, rest_x = p.along_x - p.across_x;
    const R sum_y = p.along_y + p.across_y, rest_y = p.along_y - p.across_y;
    p.x[0] = p.centre_x - sum_x;
    p.x[1] = p.centre_x + rest_x;
    p.x[2] = p.centre_x + sum_x;
    p.x[3] = p.centre_x - rest_x;
    p.y[0] = p.centre_y - sum_y;
    p.y[1] = p.centre_y + rest_y;
    p.y[2] = p.centre_y + sum_y;
    p.y[3] = p.centre_y - rest_y;
    return p;
  }

  template <bool kSlopes>
  STN_DET_INLINE Shared<R> shared(const RBox<R>& first, const RBox<R>& second, ClipSlopes<R>* slopes) const {
    const R two = splat<R>(2), half_w = splat<R>(0.5) * first.w, half_h = splat<R>(0.5) * first.h;
    const Way<R> along_x_way = Way<R>::of(two * along_x), across_x_way = Way<R>::of(two * across_x);
    const Way<R> along_y_way = Way<R>::of(two * along_y), across_y_way = Way<R>::of(two * across_y);
    const Way<R> dx[4] = {along_x_way, across_x_way, along_x_way.back(), across_x_way.back()};
    const Way<R> dy[4] = {along_y_way, across_y_way, along_y_way.back(), across_y_way.back()};
    const R clipped = clipped_area<kSlopes>(x, y, dx, dy, half_w, half_h, slopes);
    const R residue = splat<R>(16) * lane_epsilon<R>() * half_w * half_h;
    return Shared<R>::of(clipped, residue, first.w * first.h, second.w * second.h);
  }

  // Gradients to the parameters of both boxes from those to the corners here, the half sizes of the first box and the
  // two areas.
  STN_DET_INLINE void chain(
      const RBox<R>& first, const RBox<R>& second, const ClipSlopes<R>& grad, R grad_area1, R grad_area2, R* grad1,
      R* grad2) const {
    const R half = splat<R>(0.5);
    const R* gx = grad.x;
    const R* gy = grad.y;
    const R to_x = gx[0] + gx[1] + gx[2] + gx[3], to_y = gy[0] + gy[1] + gy[2] + gy[3];
    const R to_along_x = gx[1] + gx[2] - gx[0] - gx[3], to_along_y = gy[1] + gy[2] - gy[0] - gy[3];
    const R to_across_x = gx[2] + gx[3] - gx[0] - gx[1], to_across_y = gy[2] + gy[3] - gy[0] - gy[1];
    const R to_turn =
        along_x * to_along_y - along_y * to_along_x + across_x * to_across_y - across_y * to_across_x;
    grad2[0] = first.cos * to_x - first.sin * to_y;
    grad2[1] = first.sin * to_x + first.cos * to_y;
    grad2[2] = half * (turn_cos * to_along_x + turn_sin * to_along_y) + grad_area2 * second.h;
    grad2[3] = half * (turn_cos * to_across_y - turn_sin * to_across_x) + grad_area2 * second.w;
    grad2[4] = to_turn;
    grad1[0] = -grad2[0];
    grad1[1] = -grad2[1];
    grad1[2] = half * grad.half_w + grad_area1 * first.h;
    grad1[3] = half * grad.half_h + grad_area1 * first.w;
    grad1[4] = centre_y * to_x - centre_x * to_y - to_turn;
  }
};

template <typename R>
STN_DET_INLINE R rotated_overlap(const RBox<R>& first, const RBox<R>& second, bool iof) {
  const Shared<R> shared = RotatedPair<R>::of(first, second).template shared<false>(first, second, nullptr);
  return Overlap<R>::of(shared.area, first.w * first.h, second.w * second.h, iof).value;
}

// Multiplies the slopes of a clipped area by a gradient.
template <typename R>
STN_DET_INLINE void scale_slopes(ClipSlopes<R>& slopes, R by) {
  for (int k = 0; k < 4; ++k) {
    slopes.x[k] *= by;
    slopes.y[k] *= by;
  }
  slopes.half_w *= by;
  slopes.half_h *= by;
}

template <typename R>
STN_DET_INLINE void rotated_overlap_backward(
    const RBox<R>& first, const RBox<R>& second, bool iof, R grad, R* grad1, R* grad2) {
  const RotatedPair<R> pair = RotatedPair<R>::of(first, second);
  ClipSlopes<R> slopes;
  const Shared<R> shared = pair.template shared<true>(first, second, &slopes);
  const Overlap<R> overlap = Overlap<R>::of(shared.area, first.w * first.h, second.w * second.h, iof);
  const R to_shared = grad * overlap.to_shared;
  scale_slopes(slopes, to_shared * shared.to_clipped);
  pair.chain(
      first, second, slopes, to_shared * shared.to_first + grad * overlap.to_first,
      to_shared * shared.to_second + grad * overlap.to_second, grad1, grad2);
}

}  // namespace stn_det::STN_DET_ISA
