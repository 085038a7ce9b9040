// Area of a quadrilateral inside a rectangle, and its derivative.
//
// Clamping the plane onto the rectangle [-W, W] x [-H, H] is a retraction, so every inner point of the rectangle keeps
// its winding number about the clamped boundary of the quadrilateral. The area that the clamped boundary encloses, the
// closed integral of X dY, is therefore the area of the intersection. No corner is sorted or dropped and no decision
// needs a tolerance: parallel edges, shared edges and equal boxes are ordinary cases.
//
// The derivative moves the boundary: an edge counts with its part inside the rectangle, a side of the rectangle with
// its part inside the quadrilateral. It stays finite where the crossings themselves are ill-conditioned.
//
// R is a number or a vector of numbers, one pair of boxes a lane. It needs arithmetic, comparisons, and splat, choose,
// lesser, greater and magnitude; nothing here branches on a value.
#pragma once

#include "numbers.h"

namespace stn_det::STN_DET_ISA {

// A coordinate's way along an edge. Rotated boxes need two divisions an axis for four edges.
template <typename R>
struct Way {
  R length, inverse;
  MaskOf<R> still;  // shorter than any number with a finite inverse

  static STN_DET_INLINE Way of(R length) {
    const MaskOf<R> still = magnitude(length) < splat<R>(4 * std::numeric_limits<ScalarOf<R>>::min());
    return {length, splat<R>(1) / choose(still, splat<R>(1), length), still};
  }

  STN_DET_INLINE Way back() const { return {-length, -inverse, still}; }
};

// Part [enter, leave] of an edge, within [0, 1].
template <typename R>
struct Part {
  R enter, leave;
};

template <typename R>
STN_DET_INLINE R clamp_to(R x, R half) {
  return greater(lesser(x, half), -half);
}

// Where start + t * way lies in [-half, half]; empty when it never does.
template <typename R>
STN_DET_INLINE Part<R> part_between(R start, const Way<R>& way, R half) {
  const R zero = splat<R>(0), one = splat<R>(1);
  const R first = (-half - start) * way.inverse, second = (half - start) * way.inverse;
  const R enter = lesser(greater(lesser(first, second), zero), one);
  const R leave = lesser(greater(greater(first, second), zero), one);
  const R still = choose(magnitude(start) < half, zero, one);
  return {choose(way.still, still, enter), choose(way.still, one, leave)};
}

template <typename R>
STN_DET_INLINE R sign_of(R x) {
  const R zero = splat<R>(0);
  return choose(x > zero, splat<R>(1), choose(x < zero, splat<R>(-1), zero));
}

// Derivatives of a clipped area to the corners and to the half sizes of the rectangle.
template <typename R>
struct ClipSlopes {
  R x[4], y[4], half_w, half_h;
};

// Signed area of the quadrilateral with corners (x, y) inside the rectangle; dx, dy: from each corner to the next.
template <bool kSlopes, typename R>
STN_DET_INLINE R clipped_area(
    const R* x, const R* y, const Way<R>* dx, const Way<R>* dy, R half_w, R half_h, ClipSlopes<R>* slopes) {
  R area = splat<R>(0);
  R clamped[4];
  for (int k = 0; k < 4; ++k) clamped[k] = clamp_to(y[k], half_h);
  if constexpr (kSlopes) {
    slopes->half_w = slopes->half_h = splat<R>(0);
    for (int k = 0; k < 4; ++k) slopes->x[k] = slopes->y[k] = splat<R>(0);
  }
  for (int k = 0; k < 4; ++k) {
    const Part<R> in_x = part_between(x[k], dx[k], half_w), in_y = part_between(y[k], dy[k], half_h);
    // Y moves only inside in_y; X is constant before `enter` and after `leave` and linear in between.
    const R enter = lesser(greater(in_x.enter, in_y.enter), in_y.leave);
    const R leave = greater(lesser(in_x.leave, in_y.leave), in_y.enter);
    const R before = clamp_to(x[k] + in_y.enter * dx[k].length, half_w);
    const R after = clamp_to(x[k] + in_y.leave * dx[k].length, half_w);
    const R middle = clamp_to(x[k] + splat<R>(0.5) * (enter + leave) * dx[k].length, half_w);
    // The ends of the Y steps are shared by neighbours bit for bit: where X is constant all the way round, as it is
    // when the quadrilateral passes the rectangle by, the steps cancel and no residue is left.
    const R y_first = clamped[k], y_last = clamped[(k + 1) % 4];
    const R y_enters = clamp_to(y[k] + enter * dy[k].length, half_h);
    const R y_leaves = clamp_to(y[k] + leave * dy[k].length, half_h);
    area += before * (y_enters - y_first) + middle * (y_leaves - y_enters) + after * (y_last - y_leaves);
    if constexpr (kSlopes) {
      const R on_right = sign_of(before) * (enter - in_y.enter) + sign_of(after) * (in_y.leave - leave);
      const R low = lesser(greater(in_y.enter, in_x.enter), in_x.leave);
      const R high = greater(lesser(in_y.leave, in_x.leave), in_x.enter);
      const R on_top = sign_of(y[k] + in_x.enter * dy[k].length) * (low - in_x.enter) +
                       sign_of(y[k] + in_x.leave * dy[k].length) * (in_x.leave - high);
      const R to_end = splat<R>(0.5) * (leave * leave - enter * enter), to_start = (leave - enter) - to_end;
      slopes->x[k] += dy[k].length * to_start;
      slopes->y[k] -= dx[k].length * to_start;
      slopes->x[(k + 1) % 4] += dy[k].length * to_end;
      slopes->y[(k + 1) % 4] -= dx[k].length * to_end;
      slopes->half_w += dy[k].length * on_right;
      slopes->half_h -= dx[k].length * on_top;
    }
  }
  return area;
}

// What two shapes share, and its derivatives to the signed clipped area and to the areas of the shapes.
template <typename R>
struct Shared {
  R area, to_clipped, to_first, to_second;

  // `residue` is the rounding error of `clipped`; what lies below it is no intersection.
  static STN_DET_INLINE Shared of(R clipped, R residue, R first, R second) {
    const R zero = splat<R>(0), half = splat<R>(0.5), one = splat<R>(1);
    const R size = magnitude(clipped);
    const MaskOf<R> some = size > residue;
    const R found = choose(some, size, zero), least = lesser(first, second);
    // Where two are equal the derivative of the smaller one is the mean of both.
    const R own = choose(found < least, one, choose(found > least, zero, half));
    const R rest = one - own;
    const R first_part = choose(first < second, one, choose(first > second, zero, half));
    return {
        lesser(found, least), choose(some, own * sign_of(clipped), zero), rest * first_part, rest * (one - first_part)};
  }
};

// Overlap of two shapes, and its derivatives to their shared area and to their areas.
template <typename R>
struct Overlap {
  R value, to_shared, to_first, to_second;

  static STN_DET_INLINE Overlap of(R shared, R first, R second, bool iof) {
    const R zero = splat<R>(0), one = splat<R>(1);
    const R whole = iof ? first : first + second - shared;
    const MaskOf<R> some = whole > zero;
    const R scale = one / choose(some, whole, one);
    const R value = shared / choose(some, whole, one);
    const R loss = choose(some, -value * scale, zero);  // d value / d whole
    return {value, iof ? scale : scale - loss, loss, iof ? zero : loss};
  }
};

template <typename R>
STN_DET_INLINE R lane_epsilon() {
  return splat<R>(std::numeric_limits<ScalarOf<R>>::epsilon());
}

}  // namespace stn_det::STN_DET_ISA
