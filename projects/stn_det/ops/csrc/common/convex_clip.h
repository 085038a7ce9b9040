// Convex quadrilaterals: the area that two of them share, and its derivative. Same rules for R as in box_clip.h.
//
// Clipping by a half-plane projects the outer corners onto its line instead of dropping them, and inserts every
// crossing. The projection is a retraction, so the signed area of the result is that of the clipped polygon. The
// corners double with each of the four lines, but none is classified and no decision needs a tolerance.
#pragma once

#include "box_clip.h"

namespace stn_det::STN_DET_ISA {

// Corners of a quadrilateral, clockwise on screen; a triangle repeats a corner.
template <typename R>
struct Hull {
  R x[4], y[4];
};

// Twice the signed area, about the first corner so that a large common offset costs no digits.
template <int kCorners, typename R>
STN_DET_INLINE R twice_area(const R* x, const R* y) {
  R total = splat<R>(0);
  for (int k = 1; k + 1 < kCorners; ++k) {
    total += (x[k] - x[0]) * (y[k + 1] - y[0]) - (x[k + 1] - x[0]) * (y[k] - y[0]);
  }
  return total;
}

// Retracts a polygon onto the side right of a -> b on screen: 2 * kCorners corners.
template <int kCorners, typename R>
STN_DET_INLINE void clip_half_plane(const R* x, const R* y, R ax, R ay, R bx, R by, R* out_x, R* out_y) {
  const R zero = splat<R>(0), one = splat<R>(1);
  const R along_x = bx - ax, along_y = by - ay, length2 = along_x * along_x + along_y * along_y;
  const R scale = one / choose(length2 > zero, length2, one);
  R side[kCorners];
  for (int k = 0; k < kCorners; ++k) side[k] = along_x * (y[k] - ay) - along_y * (x[k] - ax);
  for (int k = 0; k < kCorners; ++k) {
    const int next = (k + 1) % kCorners;
    const R excess = lesser(side[k], zero) * scale;
    const R kept_x = x[k] + excess * along_y, kept_y = y[k] - excess * along_x;
    const MaskOf<R> crosses = (side[k] > zero) != (side[next] > zero);
    const R t = side[k] / choose(crosses, side[k] - side[next], one);
    out_x[2 * k] = kept_x;
    out_y[2 * k] = kept_y;
    out_x[2 * k + 1] = choose(crosses, x[k] + t * (x[next] - x[k]), kept_x);
    out_y[2 * k + 1] = choose(crosses, y[k] + t * (y[next] - y[k]), kept_y);
  }
}

#ifndef STN_DET_CUDA

// Twice the signed area of the part of `first` inside `second`.
template <typename R>
STN_DET_INLINE R twice_clipped_area(const Hull<R>& first, const Hull<R>& second) {
  R ax[32], ay[32], bx[64], by[64];
  const R* sx = second.x;
  const R* sy = second.y;
  clip_half_plane<4>(first.x, first.y, sx[3], sy[3], sx[0], sy[0], bx, by);
  clip_half_plane<8>(bx, by, sx[0], sy[0], sx[1], sy[1], ax, ay);
  clip_half_plane<16>(ax, ay, sx[1], sy[1], sx[2], sy[2], bx, by);
  for (int k = 0; k < 32; ++k) {
    ax[k] = bx[k];
    ay[k] = by[k];
  }
  clip_half_plane<32>(ax, ay, sx[2], sy[2], sx[3], sy[3], bx, by);
  return twice_area<64>(bx, by);
}

#else

// What a half-plane right of a -> b needs.
template <typename R>
struct HalfPlane {
  R ax, ay, along_x, along_y, scale;

  STN_DET_INLINE R side(R x, R y) const { return along_x * (y - ay) - along_y * (x - ax); }

  STN_DET_INLINE void retract(R side, R& x, R& y) const {
    const R excess = lesser(side, splat<R>(0)) * scale;
    x += excess * along_y;
    y -= excess * along_x;
  }
};

// Follows the edge from (x, y) to (next_x, next_y) through the lines from kLine on; adds up twice the area that its
// pieces span with the origin.
template <int kLine, typename R>
STN_DET_INLINE void span_edge(
    const HalfPlane<R>* lines, R x, R y, R next_x, R next_y, R origin_x, R origin_y, R& area) {
  if constexpr (kLine == 4) {
    area += (x - origin_x) * (next_y - origin_y) - (next_x - origin_x) * (y - origin_y);
  } else {
    const HalfPlane<R>& line = lines[kLine];
    const R side = line.side(x, y), next_side = line.side(next_x, next_y);
    const bool crosses = (side > 0) != (next_side > 0);
    const R t = side / (crosses ? side - next_side : R(1));
    const R crossing_x = x + t * (next_x - x), crossing_y = y + t * (next_y - y);
    line.retract(side, x, y);
    line.retract(next_side, next_x, next_y);
    STN_DET_ROLLED
    for (int piece = crosses ? 0 : 1; piece < 2; ++piece) {
      const R to_x = piece == 0 ? crossing_x : next_x, to_y = piece == 0 ? crossing_y : next_y;
      span_edge<kLine + 1>(lines, x, y, to_x, to_y, origin_x, origin_y, area);
      x = to_x;
      y = to_y;
    }
  }
}

// The same edge by edge: a thread cannot hold 64 corners, and an edge that a line does not cross stays one.
template <typename R>
STN_DET_INLINE R twice_clipped_area(const Hull<R>& first, const Hull<R>& second) {
  HalfPlane<R> lines[4];
  R origin_x = first.x[0], origin_y = first.y[0];
  for (int k = 0; k < 4; ++k) {
    const int last = (k + 3) % 4;
    HalfPlane<R>& line = lines[k];
    line = {second.x[last], second.y[last], second.x[k] - second.x[last], second.y[k] - second.y[last], R(0)};
    const R length2 = line.along_x * line.along_x + line.along_y * line.along_y;
    line.scale = R(1) / (length2 > 0 ? length2 : R(1));
    line.retract(line.side(origin_x, origin_y), origin_x, origin_y);
  }
  R area = 0, x = first.x[3], y = first.y[3];
  for (int k = 0; k < 4; ++k) {
    span_edge<0>(lines, x, y, first.x[k], first.y[k], origin_x, origin_y, area);
    x = first.x[k];
    y = first.y[k];
  }
  return area;
}

#endif

// Derivative of the shared area to the corners of `of`, from the part of each of its edges inside `other`.
template <typename R>
STN_DET_INLINE void convex_slopes(const Hull<R>& of, const Hull<R>& other, R* slope_x, R* slope_y) {
  const R zero = splat<R>(0), one = splat<R>(1);
  for (int k = 0; k < 4; ++k) slope_x[k] = slope_y[k] = zero;
  for (int k = 0; k < 4; ++k) {
    const int next = (k + 1) % 4;
    const R dx = of.x[next] - of.x[k], dy = of.y[next] - of.y[k];
    R enter = zero, leave = one;
    for (int line = 0; line < 4; ++line) {
      const R ax = other.x[line], ay = other.y[line];
      const R along_x = other.x[(line + 1) % 4] - ax, along_y = other.y[(line + 1) % 4] - ay;
      const R side = along_x * (of.y[k] - ay) - along_y * (of.x[k] - ax);
      const R rate = along_x * dy - along_y * dx;
      const R t = lesser(greater(-side / choose(rate == zero, one, rate), zero), one);
      const MaskOf<R> real_line = (along_x != zero) | (along_y != zero);
      const R outside = choose((rate == zero) & (side <= zero) & real_line, one, zero);
      enter = greater(enter, choose(rate > zero, t, outside));
      leave = lesser(leave, choose(rate < zero, t, one));
    }
    leave = greater(leave, enter);
    const R to_end = splat<R>(0.5) * (leave * leave - enter * enter), to_start = (leave - enter) - to_end;
    slope_x[k] += dy * to_start;
    slope_y[k] -= dx * to_start;
    slope_x[next] += dy * to_end;
    slope_y[next] -= dx * to_end;
  }
}

// Two hulls about the mean of the first, and what they share.
template <typename R>
struct HullPair {
  Hull<R> first, second;
  R area1, area2;
  Shared<R> shared;

  static STN_DET_INLINE HullPair of(const Hull<R>& hull1, const Hull<R>& hull2) {
    HullPair p;
    const R quarter = splat<R>(0.25), half = splat<R>(0.5), zero = splat<R>(0);
    const R mean_x = quarter * (hull1.x[0] + hull1.x[1] + hull1.x[2] + hull1.x[3]);
    const R mean_y = quarter * (hull1.y[0] + hull1.y[1] + hull1.y[2] + hull1.y[3]);
    R reach1 = zero, reach2 = zero;
    for (int k = 0; k < 4; ++k) {
      p.first.x[k] = hull1.x[k] - mean_x;
      p.first.y[k] = hull1.y[k] - mean_y;
      p.second.x[k] = hull2.x[k] - mean_x;
      p.second.y[k] = hull2.y[k] - mean_y;
      reach1 = greater(reach1, greater(magnitude(p.first.x[k]), magnitude(p.first.y[k])));
      reach2 = greater(reach2, greater(magnitude(p.second.x[k]), magnitude(p.second.y[k])));
    }
    p.area1 = half * twice_area<4>(p.first.x, p.first.y);
    p.area2 = half * twice_area<4>(p.second.x, p.second.y);
    // Below the rounding error of the products of coordinates an intersection is not told from none.
    const R residue = splat<R>(8) * lane_epsilon<R>() * reach1 * reach2;
    const R clipped = greater(half * twice_clipped_area(p.first, p.second), zero);
    p.shared = Shared<R>::of(clipped, residue, greater(p.area1, zero), greater(p.area2, zero));
    return p;
  }
};

template <typename R>
STN_DET_INLINE R hull_overlap(const Hull<R>& hull1, const Hull<R>& hull2, bool iof) {
  const HullPair<R> pair = HullPair<R>::of(hull1, hull2);
  return Overlap<R>::of(pair.shared.area, pair.area1, pair.area2, iof).value;
}

// Gradient of one hull, 8 values (x, y) corner by corner, from those of the clipped area and of its own.
template <typename R>
STN_DET_INLINE void hull_gradient(const Hull<R>& hull, const Hull<R>& other, R to_clipped, R to_area, R* grad) {
  R slope_x[4], slope_y[4];
  convex_slopes(hull, other, slope_x, slope_y);
  const R half_area = splat<R>(0.5) * to_area;
  for (int k = 0; k < 4; ++k) {
    const int next = (k + 1) % 4, last = (k + 3) % 4;
    grad[2 * k] = to_clipped * slope_x[k] + half_area * (hull.y[next] - hull.y[last]);
    grad[2 * k + 1] = to_clipped * slope_y[k] + half_area * (hull.x[last] - hull.x[next]);
  }
}

template <typename R>
STN_DET_INLINE void hull_overlap_backward(
    const Hull<R>& hull1, const Hull<R>& hull2, bool iof, R grad, R* grad1, R* grad2) {
  const HullPair<R> pair = HullPair<R>::of(hull1, hull2);
  const Overlap<R> overlap = Overlap<R>::of(pair.shared.area, pair.area1, pair.area2, iof);
  const R to_shared = grad * overlap.to_shared, to_clipped = to_shared * pair.shared.to_clipped;
  const R to_first = to_shared * pair.shared.to_first + grad * overlap.to_first;
  const R to_second = to_shared * pair.shared.to_second + grad * overlap.to_second;
  hull_gradient(pair.first, pair.second, to_clipped, to_first, grad1);
  hull_gradient(pair.second, pair.first, to_clipped, to_second, grad2);
}

}  // namespace stn_det::STN_DET_ISA
