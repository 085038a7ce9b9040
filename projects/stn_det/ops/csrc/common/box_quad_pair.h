// A rotated box and any simple quadrilateral: overlap and gradients. Same rules for R as in box_clip.h.
#pragma once

#include "convex_clip.h"
#include "rotated_pair.h"

namespace stn_det::STN_DET_ISA {

// A rotated box and any simple quadrilateral with corners (x, y), seen from the centre and the axes of the box.
template <typename R>
struct BoxQuadPair {
  R x[4], y[4];
  R box_area, signed_area;
  Shared<R> shared;

  template <bool kSlopes>
  static STN_DET_INLINE BoxQuadPair of(const RBox<R>& box, const Hull<R>& quad, ClipSlopes<R>* slopes) {
    BoxQuadPair p;
    for (int k = 0; k < 4; ++k) {
      const R dx = quad.x[k] - box.x, dy = quad.y[k] - box.y;
      p.x[k] = box.cos * dx + box.sin * dy;
      p.y[k] = box.cos * dy - box.sin * dx;
    }
    Way<R> dx[4], dy[4];
    for (int k = 0; k < 4; ++k) {
      dx[k] = Way<R>::of(p.x[(k + 1) % 4] - p.x[k]);
      dy[k] = Way<R>::of(p.y[(k + 1) % 4] - p.y[k]);
    }
    const R half_w = splat<R>(0.5) * box.w, half_h = splat<R>(0.5) * box.h;
    const R clipped = clipped_area<kSlopes>(p.x, p.y, dx, dy, half_w, half_h, slopes);
    p.box_area = box.w * box.h;
    p.signed_area = splat<R>(0.5) * twice_area<4>(p.x, p.y);
    const R residue = splat<R>(16) * lane_epsilon<R>() * half_w * half_h;
    p.shared = Shared<R>::of(clipped, residue, p.box_area, magnitude(p.signed_area));
    return p;
  }
};

template <typename R>
STN_DET_INLINE R box_quad_overlap(const RBox<R>& box, const Hull<R>& quad, bool iof) {
  const BoxQuadPair<R> pair = BoxQuadPair<R>::template of<false>(box, quad, nullptr);
  return Overlap<R>::of(pair.shared.area, pair.box_area, magnitude(pair.signed_area), iof).value;
}

template <typename R>
STN_DET_INLINE void box_quad_overlap_backward(
    const RBox<R>& box, const Hull<R>& quad, bool iof, R grad, R* grad_box, R* grad_quad) {
  ClipSlopes<R> slopes;
  const BoxQuadPair<R> pair = BoxQuadPair<R>::template of<true>(box, quad, &slopes);
  const Overlap<R> overlap = Overlap<R>::of(pair.shared.area, pair.box_area, magnitude(pair.signed_area), iof);
  const R to_shared = grad * overlap.to_shared, half = splat<R>(0.5);
  scale_slopes(slopes, to_shared * pair.shared.to_clipped);
  const R to_box_area = to_shared * pair.shared.to_first + grad * overlap.to_first;
  const R to_quad_area = to_shared * pair.shared.to_second + grad * overlap.to_second;
  const R half_area = half * to_quad_area * sign_of(pair.signed_area);
  grad_box[0] = grad_box[1] = grad_box[4] = splat<R>(0);
  for (int k = 0; k < 4; ++k) {
    const int next = (k + 1) % 4, last = (k + 3) % 4;
    const R to_x = slopes.x[k] + half_area * (pair.y[next] - pair.y[last]);
    const R to_y = slopes.y[k] + half_area * (pair.x[last] - pair.x[next]);
    grad_quad[2 * k] = box.cos * to_x - box.sin * to_y;
    grad_quad[2 * k + 1] = box.sin * to_x + box.cos * to_y;
    grad_box[0] -= grad_quad[2 * k];
    grad_box[1] -= grad_quad[2 * k + 1];
    grad_box[4] += pair.y[k] * to_x - pair.x[k] * to_y;
  }
  grad_box[2] = half * slopes.half_w + to_box_area * box.h;
  grad_box[3] = half * slopes.half_h + to_box_area * box.w;
}

}  // namespace stn_det::STN_DET_ISA
