// The shapes that overlap is measured of. Same rules for R as in box_clip.h.
//
// A shape says how many numbers describe it (kRaw), how many are kept once it is prepared (kReady), how to prepare it,
// its axis-aligned bounds and its area. A pair of shapes says their overlap and its gradients. On a CPU the overlaps
// are functions of their own, never inlined: whoever asks for the overlap of two shapes gets the same bits. On a GPU
// cuda/pairs.h sees to that.
#pragma once

#include "box_quad_pair.h"
#include "convex_clip.h"
#include "rotated_pair.h"

namespace stn_det::STN_DET_ISA {

// Axis-aligned bounds of a shape.
template <typename R>
struct Bounds {
  R low_x, low_y, high_x, high_y;

  // Widens by the rounding error of the coordinates.
  STN_DET_INLINE void widen() {
    const R margin = splat<R>(8) * lane_epsilon<R>();
    const R margin_x = margin * greater(magnitude(low_x), magnitude(high_x));
    const R margin_y = margin * greater(magnitude(low_y), magnitude(high_y));
    low_x -= margin_x;
    high_x += margin_x;
    low_y -= margin_y;
    high_y += margin_y;
  }
};

// Products of numbers below this cannot overflow; shapes with others, or with NaN, overlap nothing. As in _pairs.py.
template <typename A>
STN_DET_INLINE A usable_limit() {
  return std::sqrt(std::numeric_limits<A>::max()) / 16;
}

template <int kCount, typename R>
STN_DET_INLINE MaskOf<R> usable(const R* raw) {
  const R limit = splat<R>(usable_limit<ScalarOf<R>>());
  MaskOf<R> proper = magnitude(raw[0]) < limit;  // false for NaN
  for (int k = 1; k < kCount; ++k) proper &= magnitude(raw[k]) < limit;
  return proper;
}

template <typename R>
struct RBoxShape {
  static constexpr int kRaw = 5, kReady = 7;

  static STN_DET_INLINE RBox<R> load(const R* ready) {
    return {ready[0], ready[1], ready[2], ready[3], ready[4], ready[5], ready[6]};
  }

  // Boxes that cannot overlap anything become zeros.
  static STN_DET_APART void prepare(const R* raw, R* ready) {
    const R zero = splat<R>(0);
    const MaskOf<R> proper = usable<5>(raw) & (raw[2] > zero) & (raw[3] > zero);
    for (int k = 0; k < 5; ++k) ready[k] = choose(proper, raw[k], zero);
    sine_and_cosine(ready[4], ready[6], ready[5]);
  }

  static STN_DET_INLINE Bounds<R> bounds(const R* ready) {
    const RBox<R> box = load(ready);
    const R half = splat<R>(0.5), cos = magnitude(box.cos), sin = magnitude(box.sin);
    const R reach_x = half * (box.w * cos + box.h * sin), reach_y = half * (box.w * sin + box.h * cos);
    Bounds<R> out{box.x - reach_x, box.y - reach_y, box.x + reach_x, box.y + reach_y};
    out.widen();
    return out;
  }

  static STN_DET_INLINE R area(const R* ready) { return ready[2] * ready[3]; }
};

// Corners (x1, y1, ..., x4, y4) of a quadrilateral or of a hull.
template <typename R>
struct QuadShape {
  static constexpr int kRaw = 8, kReady = 8;

  static STN_DET_INLINE Hull<R> load(const R* ready) {
    return {{ready[0], ready[2], ready[4], ready[6]}, {ready[1], ready[3], ready[5], ready[7]}};
  }

  static STN_DET_APART void prepare(const R* raw, R* ready) {
    const MaskOf<R> proper = usable<8>(raw);
    for (int k = 0; k < 8; ++k) ready[k] = choose(proper, raw[k], splat<R>(0));
  }

  static STN_DET_INLINE Bounds<R> bounds(const R* ready) {
    Bounds<R> out{ready[0], ready[1], ready[0], ready[1]};
    for (int k = 2; k < 8; k += 2) {
      out.low_x = lesser(out.low_x, ready[k]);
      out.high_x = greater(out.high_x, ready[k]);
      out.low_y = lesser(out.low_y, ready[k + 1]);
      out.high_y = greater(out.high_y, ready[k + 1]);
    }
    out.widen();
    return out;
  }

  static STN_DET_INLINE R area(const R* ready) {
    const Hull<R> hull = load(ready);
    return splat<R>(0.5) * magnitude(twice_area<4>(hull.x, hull.y));
  }
};

// (x1, y1, x2, y2); one turned inside out has no area.
template <typename R>
struct HBoxShape {
  static constexpr int kRaw = 4, kReady = 4;

  static STN_DET_INLINE void prepare(const R* raw, R* ready) {
    for (int k = 0; k < 4; ++k) ready[k] = raw[k];
  }

  static STN_DET_INLINE Bounds<R> bounds(const R* ready) { return {ready[0], ready[1], ready[2], ready[3]}; }

  static STN_DET_INLINE R area(const R* ready) {
    const R zero = splat<R>(0);
    return greater(ready[2] - ready[0], zero) * greater(ready[3] - ready[1], zero);
  }
};

template <typename R>
struct RotatedOverlap {
  using First = RBoxShape<R>;
  using Second = RBoxShape<R>;
  static STN_DET_APART void overlap(const R* first, const R* second, bool iof, R* out) {
    *out = rotated_overlap(First::load(first), Second::load(second), iof);
  }
  static STN_DET_APART void backward(
      const R* first, const R* second, bool iof, const R* grad, R* grad1, R* grad2) {
    rotated_overlap_backward(First::load(first), Second::load(second), iof, *grad, grad1, grad2);
  }
};

template <typename R>
struct BoxQuadOverlap {
  using First = RBoxShape<R>;
  using Second = QuadShape<R>;
  static STN_DET_APART void overlap(const R* first, const R* second, bool iof, R* out) {
    *out = box_quad_overlap(First::load(first), Second::load(second), iof);
  }
  static STN_DET_APART void backward(
      const R* first, const R* second, bool iof, const R* grad, R* grad1, R* grad2) {
    box_quad_overlap_backward(First::load(first), Second::load(second), iof, *grad, grad1, grad2);
  }
};

template <typename R>
struct HullOverlap {
  using First = QuadShape<R>;
  using Second = QuadShape<R>;
  static STN_DET_APART void overlap(const R* first, const R* second, bool iof, R* out) {
    *out = hull_overlap(First::load(first), Second::load(second), iof);
  }
  static STN_DET_APART void backward(
      const R* first, const R* second, bool iof, const R* grad, R* grad1, R* grad2) {
    hull_overlap_backward(First::load(first), Second::load(second), iof, *grad, grad1, grad2);
  }
};

template <typename R>
struct HBoxOverlap {
  using First = HBoxShape<R>;
  using Second = HBoxShape<R>;
  static STN_DET_APART void overlap(const R* first, const R* second, bool, R* out) {
    const R zero = splat<R>(0);
    const R width = greater(lesser(first[2], second[2]) - greater(first[0], second[0]), zero);
    const R height = greater(lesser(first[3], second[3]) - greater(first[1], second[1]), zero);
    const R shared = width * height, whole = First::area(first) + Second::area(second) - shared;
    *out = shared / choose(whole > zero, whole, splat<R>(1));
  }
};

}  // namespace stn_det::STN_DET_ISA
