// The shapes that overlap is measured of, a vector of them at a time.
//
// A shape says how many numbers describe it (kRaw), how many are kept once it is prepared (kReady), how to prepare it,
// its axis-aligned bounds and its area. A pair of shapes says their overlap and its gradients. The overlaps are
// functions of their own, never inlined: whoever asks for the overlap of two shapes gets the same bits.
#pragma once

#include <algorithm>

#include "../common/box_quad_pair.h"
#include "../common/convex_clip.h"
#include "../common/rotated_pair.h"
#include "buffer.h"
#include "lanes.h"

namespace stn_det::STN_DET_ISA {

// Axis-aligned bounds of one shape a lane.
template <typename R>
struct Bounds {
  R low_x, low_y, high_x, high_y;

  // Widens by the rounding error of the coordinates.
  inline void widen() {
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
inline A usable_limit() {
  return std::sqrt(std::numeric_limits<A>::max()) / 16;
}

template <int kCount, typename R>
inline MaskOf<R> usable(const R* raw) {
  const R limit = splat<R>(usable_limit<ScalarOf<R>>());
  MaskOf<R> proper = magnitude(raw[0]) < limit;  // false for NaN
  for (int k = 1; k < kCount; ++k) proper &= magnitude(raw[k]) < limit;
  return proper;
}

template <typename R>
struct RBoxShape {
  static constexpr int kRaw = 5, kReady = 7;

  static inline RBox<R> load(const R* ready) {
    return {ready[0], ready[1], ready[2], ready[3], ready[4], ready[5], ready[6]};
  }

  // Boxes that cannot overlap anything become zeros.
  __attribute__((noinline)) static void prepare(const R* raw, R* ready) {
    const R zero = splat<R>(0);
    const MaskOf<R> proper = usable<5>(raw) & (raw[2] > zero) & (raw[3] > zero);
    for (int k = 0; k < 5; ++k) ready[k] = choose(proper, raw[k], zero);
    sine_and_cosine(ready[4], ready[6], ready[5]);
  }

  static inline Bounds<R> bounds(const R* ready) {
    const RBox<R> box = load(ready);
    const R half = splat<R>(0.5), cos = magnitude(box.cos), sin = magnitude(box.sin);
    const R reach_x = half * (box.w * cos + box.h * sin), reach_y = half * (box.w * sin + box.h * cos);
    Bounds<R> out{box.x - reach_x, box.y - reach_y, box.x + reach_x, box.y + reach_y};
    out.widen();
    return out;
  }

  static inline R area(const R* ready) { return ready[2] * ready[3]; }
};

// Corners (x1, y1, ..., x4, y4) of a quadrilateral or of a hull.
template <typename R>
struct QuadShape {
  static constexpr int kRaw = 8, kReady = 8;

  static inline Hull<R> load(const R* ready) {
    return {{ready[0], ready[2], ready[4], ready[6]}, {ready[1], ready[3], ready[5], ready[7]}};
  }

  __attribute__((noinline)) static void prepare(const R* raw, R* ready) {
    const MaskOf<R> proper = usable<8>(raw);
    for (int k = 0; k < 8; ++k) ready[k] = choose(proper, raw[k], splat<R>(0));
  }

  static inline Bounds<R> bounds(const R* ready) {
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

  static inline R area(const R* ready) {
    const Hull<R> hull = load(ready);
    return splat<R>(0.5) * magnitude(twice_area<4>(hull.x, hull.y));
  }
};

// (x1, y1, x2, y2); one turned inside out has no area.
template <typename R>
struct HBoxShape {
  static constexpr int kRaw = 4, kReady = 4;

  static inline void prepare(const R* raw, R* ready) {
    for (int k = 0; k < 4; ++k) ready[k] = raw[k];
  }

  static inline Bounds<R> bounds(const R* ready) { return {ready[0], ready[1], ready[2], ready[3]}; }

  static inline R area(const R* ready) {
    const R zero = splat<R>(0);
    return greater(ready[2] - ready[0], zero) * greater(ready[3] - ready[1], zero);
  }
};

template <typename R>
struct RotatedOverlap {
  using First = RBoxShape<R>;
  using Second = RBoxShape<R>;
  __attribute__((noinline)) static void overlap(const R* first, const R* second, bool iof, R* out) {
    *out = rotated_overlap(First::load(first), Second::load(second), iof);
  }
  __attribute__((noinline)) static void backward(
      const R* first, const R* second, bool iof, const R* grad, R* grad1, R* grad2) {
    rotated_overlap_backward(First::load(first), Second::load(second), iof, *grad, grad1, grad2);
  }
};

template <typename R>
struct BoxQuadOverlap {
  using First = RBoxShape<R>;
  using Second = QuadShape<R>;
  __attribute__((noinline)) static void overlap(const R* first, const R* second, bool iof, R* out) {
    *out = box_quad_overlap(First::load(first), Second::load(second), iof);
  }
  __attribute__((noinline)) static void backward(
      const R* first, const R* second, bool iof, const R* grad, R* grad1, R* grad2) {
    box_quad_overlap_backward(First::load(first), Second::load(second), iof, *grad, grad1, grad2);
  }
};

template <typename R>
struct HullOverlap {
  using First = QuadShape<R>;
  using Second = QuadShape<R>;
  __attribute__((noinline)) static void overlap(const R* first, const R* second, bool iof, R* out) {
    *out = hull_overlap(First::load(first), Second::load(second), iof);
  }
  __attribute__((noinline)) static void backward(
      const R* first, const R* second, bool iof, const R* grad, R* grad1, R* grad2) {
    hull_overlap_backward(First::load(first), Second::load(second), iof, *grad, grad1, grad2);
  }
};

template <typename R>
struct HBoxOverlap {
  using First = HBoxShape<R>;
  using Second = HBoxShape<R>;
  __attribute__((noinline)) static void overlap(const R* first, const R* second, bool, R* out) {
    const R zero = splat<R>(0);
    const R width = greater(lesser(first[2], second[2]) - greater(first[0], second[0]), zero);
    const R height = greater(lesser(first[3], second[3]) - greater(first[1], second[1]), zero);
    const R shared = width * height, whole = First::area(first) + Second::area(second) - shared;
    *out = shared / choose(whole > zero, whole, splat<R>(1));
  }
};

// One row of numbers a shape, turned into one column a number; padded with zeros to whole vectors.
template <typename A>
class Columns {
 public:
  Columns(int columns, int64_t count)
      : stride_((count + kLanes<A> - 1) / kLanes<A> * kLanes<A>), values_(columns * stride_) {}

  const A* column(int k) const { return values_.data() + k * stride_; }
  A* column(int k) { return values_.data() + k * stride_; }
  int64_t padded() const { return stride_; }

 private:
  int64_t stride_;
  Buffer<A> values_;
};

// Up to a vector of rows of kRaw numbers, turned.
template <int kRaw, typename A>
inline void load_rows(const A* rows, int64_t count, Vec<A>* raw) {
  A turned[kRaw][kLanes<A>] = {};
  for (int64_t lane = 0; lane < count; ++lane) {
    for (int k = 0; k < kRaw; ++k) turned[k][lane] = rows[lane * kRaw + k];
  }
  for (int k = 0; k < kRaw; ++k) raw[k] = load<A>(turned[k]);
}

// The rows at `index`, prepared before.
template <int kReady, typename A>
inline void gather(const Columns<A>& ready, const int64_t* index, int64_t count, Vec<A>* out) {
  A turned[kReady][kLanes<A>];
  for (int64_t lane = 0; lane < kLanes<A>; ++lane) {
    const int64_t from = index[lane < count ? lane : 0];
    for (int k = 0; k < kReady; ++k) turned[k][lane] = ready.column(k)[from];
  }
  for (int k = 0; k < kReady; ++k) out[k] = load<A>(turned[k]);
}

template <int kReady, typename A>
inline void broadcast(const Columns<A>& ready, int64_t from, Vec<A>* out) {
  for (int k = 0; k < kReady; ++k) out[k] = Vec<A>{} + ready.column(k)[from];
}

// Shapes (count, kRaw) prepared, and their bounds in four columns.
template <typename Shape, typename A>
inline void prepare_all(const A* rows, int64_t count, Columns<A>& ready, Columns<A>& bounds) {
  for (int64_t begin = 0; begin < count; begin += kLanes<A>) {
    Vec<A> raw[Shape::kRaw], out[Shape::kReady];
    load_rows<Shape::kRaw>(rows + begin * Shape::kRaw, std::min(kLanes<A>, count - begin), raw);
    Shape::prepare(raw, out);
    for (int k = 0; k < Shape::kReady; ++k) store<A>(ready.column(k) + begin, out[k]);
    const Bounds<Vec<A>> box = Shape::bounds(out);
    store<A>(bounds.column(0) + begin, box.low_x);
    store<A>(bounds.column(1) + begin, box.low_y);
    store<A>(bounds.column(2) + begin, box.high_x);
    store<A>(bounds.column(3) + begin, box.high_y);
  }
}

}  // namespace stn_det::STN_DET_ISA
