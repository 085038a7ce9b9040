// IoU and generalised IoU of two rotated boxes, and their gradients. Same rules for R as in box_clip.h. The enclosing
// shape is the convex hull of the two boxes.
#pragma once

#include "enclosing_hull.h"
#include "shapes.h"

namespace stn_det::STN_DET_ISA {

// Negative sides count as 0, and a pair with a box that is not finite is two points at one place.
template <typename R>
STN_DET_INLINE RBox<R> load_box(const R* raw, MaskOf<R> proper) {
  const R zero = splat<R>(0);
  RBox<R> box;
  box.x = choose(proper, raw[0], zero);
  box.y = choose(proper, raw[1], zero);
  box.w = choose(proper, greater(raw[2], zero), zero);
  box.h = choose(proper, greater(raw[3], zero), zero);
  box.theta = choose(proper, raw[4], zero);
  sine_and_cosine(box.theta, box.sin, box.cos);
  return box;
}

// The corners of both boxes about their mean, in the axes of the first.
template <typename R>
struct BothCorners {
  R x[8], y[8];

  static STN_DET_INLINE BothCorners of(const RBox<R>& first, const RotatedPair<R>& pair) {
    const R half_w = splat<R>(0.5) * first.w, half_h = splat<R>(0.5) * first.h;
    // The corners of the first box cancel in the mean, those of the second sum up to four times its centre.
    const R mean_x = splat<R>(0.5) * pair.centre_x, mean_y = splat<R>(0.5) * pair.centre_y;
    BothCorners c{
        {-half_w - mean_x, half_w - mean_x, half_w - mean_x, -half_w - mean_x},
        {-half_h - mean_y, -half_h - mean_y, half_h - mean_y, half_h - mean_y}};
    for (int k = 0; k < 4; ++k) {
      c.x[4 + k] = pair.x[k] - mean_x;
      c.y[4 + k] = pair.y[k] - mean_y;
    }
    return c;
  }
};

template <typename R>
STN_DET_APART void iou_giou(const R* raw1, const R* raw2, R* iou, R* giou) {
  const R zero = splat<R>(0), one = splat<R>(1);
  const MaskOf<R> proper = usable<5>(raw1) & usable<5>(raw2);
  const RBox<R> first = load_box(raw1, proper), second = load_box(raw2, proper);
  const RotatedPair<R> pair = RotatedPair<R>::of(first, second);
  const R shared = pair.template shared<false>(first, second, nullptr).area;
  const R joint = first.w * first.h + second.w * second.h - shared;
  const BothCorners<R> corners = BothCorners<R>::of(first, pair);
  const R hull = greater(hull_area<false, R>(corners.x, corners.y, nullptr, nullptr), joint);
  *iou = shared / choose(joint > zero, joint, one);
  const MaskOf<R> spanned = hull > zero;
  *giou = choose(spanned, *iou - (hull - joint) / choose(spanned, hull, one), -one);
}

template <typename R>
STN_DET_APART void iou_giou_backward(
    const R* raw1, const R* raw2, const R* grad_iou, const R* grad_giou, R* grad1, R* grad2) {
  const R zero = splat<R>(0), one = splat<R>(1), half = splat<R>(0.5);
  const MaskOf<R> proper = usable<5>(raw1) & usable<5>(raw2);
  const RBox<R> first = load_box(raw1, proper), second = load_box(raw2, proper);
  const RotatedPair<R> pair = RotatedPair<R>::of(first, second);
  ClipSlopes<R> slopes;
  const Shared<R> shared = pair.template shared<true>(first, second, &slopes);
  const R joint = first.w * first.h + second.w * second.h - shared.area;
  const BothCorners<R> corners = BothCorners<R>::of(first, pair);
  R hull_x[8], hull_y[8];
  const R around = hull_area<true, R>(corners.x, corners.y, hull_x, hull_y), hull = greater(around, joint);

  const MaskOf<R> spanned = hull > zero, some = joint > zero;
  const R to_giou = choose(spanned, *grad_giou, zero), to_iou = *grad_iou + to_giou;
  const R joint_scale = one / choose(some, joint, one), hull_scale = one / choose(spanned, hull, one);
  // GIoU = shared / joint - 1 + joint / hull.
  R to_joint = to_giou * hull_scale - choose(some, to_iou * shared.area * joint_scale * joint_scale, zero);
  const R to_hull = -to_giou * joint * hull_scale * hull_scale;
  const R own = choose(around > joint, one, choose(around < joint, zero, half));
  to_joint += (one - own) * to_hull;
  const R to_around = own * to_hull;
  const R to_shared = to_iou * joint_scale - to_joint;

  scale_slopes(slopes, to_shared * shared.to_clipped);
  for (int k = 0; k < 4; ++k) {
    slopes.x[k] += to_around * hull_x[4 + k];
    slopes.y[k] += to_around * hull_y[4 + k];
  }
  slopes.half_w += to_around * (hull_x[1] + hull_x[2] - hull_x[0] - hull_x[3]);
  slopes.half_h += to_around * (hull_y[2] + hull_y[3] - hull_y[0] - hull_y[1]);
  pair.chain(
      first, second, slopes, to_joint + to_shared * shared.to_first, to_joint + to_shared * shared.to_second, grad1,
      grad2);
  for (int k = 2; k < 4; ++k) {
    grad1[k] = choose(raw1[k] >= zero, grad1[k], zero);
    grad2[k] = choose(raw2[k] >= zero, grad2[k], zero);
  }
  for (int k = 0; k < 5; ++k) {
    grad1[k] = choose(proper, grad1[k], zero);
    grad2[k] = choose(proper, grad2[k], zero);
  }
}

}  // namespace stn_det::STN_DET_ISA
