// Area of the convex hull of eight points, and its derivative. Same rules for R as in box_clip.h.
//
// Among all polygons that visit some of the points in the order of their angle about an inner point, the hull is the
// largest. A dynamic program over that order finds it. Unlike a scan that decides which point to drop, a maximum of
// areas has no decision that rounding can turn: repeated and collinear points need no care.
#pragma once

#include "box_clip.h"

namespace stn_det::STN_DET_ISA {

constexpr int kHullPoints = 8;

// Points in the order of their angle; `origin` holds their indices before.
template <typename R>
struct Tour {
  R x[kHullPoints], y[kHullPoints], origin[kHullPoints];

  // x, y: about their mean. The farthest point surely is a corner, so that the tour may begin and end there.
  static STN_DET_INLINE Tour of(const R* x, const R* y) {
    const R zero = splat<R>(0), one = splat<R>(1);
    R far_x = x[0], far_y = y[0], reach = x[0] * x[0] + y[0] * y[0], far_index = zero;
    for (int k = 1; k < kHullPoints; ++k) {
      const R square = x[k] * x[k] + y[k] * y[k];
      const MaskOf<R> more = square > reach;
      far_x = choose(more, x[k], far_x);
      far_y = choose(more, y[k], far_y);
      far_index = choose(more, splat<R>(k), far_index);
      reach = choose(more, square, reach);
    }
    Tour tour;
    R key[kHullPoints];
    for (int k = 0; k < kHullPoints; ++k) {
      // Grows with the angle from the farthest point, in [0, 4).
      const R ahead = x[k] * far_x + y[k] * far_y, aside = y[k] * far_x - x[k] * far_y;
      const R length = magnitude(ahead) + magnitude(aside);
      const R part = aside / choose(length > zero, length, one);
      const R angle = choose(ahead < zero, splat<R>(2) - part, choose(aside < zero, splat<R>(4) + part, part));
      key[k] = choose(far_index == splat<R>(k), -one, angle);
      tour.x[k] = x[k];
      tour.y[k] = y[k];
      tour.origin[k] = splat<R>(k);
    }
    // Batcher's odd-even merge sort of eight.
    constexpr int kNetwork[19][2] = {
        {0, 1}, {2, 3}, {4, 5}, {6, 7}, {0, 2}, {1, 3}, {4, 6}, {5, 7}, {1, 2}, {5, 6},
        {0, 4}, {1, 5}, {2, 6}, {3, 7}, {2, 4}, {3, 5}, {1, 2}, {3, 4}, {5, 6}};
    for (const auto& [i, j] : kNetwork) {
      const MaskOf<R> swap = key[j] < key[i];
      exchange(swap, key[i], key[j]);
      exchange(swap, tour.x[i], tour.x[j]);
      exchange(swap, tour.y[i], tour.y[j]);
      exchange(swap, tour.origin[i], tour.origin[j]);
    }
    return tour;
  }

  static STN_DET_INLINE void exchange(const MaskOf<R>& swap, R& first, R& second) {
    const R kept = first;
    first = choose(swap, second, first);
    second = choose(swap, kept, second);
  }
};

// Area of the hull of points about their mean. With kSlopes also the derivatives to the points.
template <bool kSlopes, typename R>
STN_DET_INLINE R hull_area(const R* x, const R* y, R* slope_x, R* slope_y) {
  const R zero = splat<R>(0), half = splat<R>(0.5);
  const Tour<R> tour = Tour<R>::of(x, y);
  R best[kHullPoints], before[kHullPoints];  // largest area (twice) up to a point, and the point before on the way
  best[0] = zero;
  for (int j = 1; j < kHullPoints; ++j) {
    best[j] = tour.x[0] * tour.y[j] - tour.x[j] * tour.y[0];
    before[j] = zero;
    for (int i = 1; i < j; ++i) {
      const R area = best[i] + (tour.x[i] * tour.y[j] - tour.x[j] * tour.y[i]);
      if constexpr (kSlopes) before[j] = choose(area > best[j], splat<R>(i), before[j]);
      best[j] = greater(area, best[j]);
    }
  }
  R whole = best[1] + (tour.x[1] * tour.y[0] - tour.x[0] * tour.y[1]), last = splat<R>(1);
  for (int j = 2; j < kHullPoints; ++j) {
    const R area = best[j] + (tour.x[j] * tour.y[0] - tour.x[0] * tour.y[j]);
    if constexpr (kSlopes) last = choose(area > whole, splat<R>(j), last);
    whole = greater(area, whole);
  }
  if constexpr (kSlopes) {
    R sorted_x[kHullPoints], sorted_y[kHullPoints];
    // Backwards along the way: `next` is the point after the one that the way has come to.
    R next_x = tour.x[0], next_y = tour.y[0], last_x = zero, last_y = zero, here = last;
    for (int j = kHullPoints - 1; j >= 1; --j) {
      const MaskOf<R> on_way = here == splat<R>(j);
      R previous_x = tour.x[0], previous_y = tour.y[0];
      for (int i = 1; i < j; ++i) {
        const MaskOf<R> is_it = before[j] == splat<R>(i);
        previous_x = choose(is_it, tour.x[i], previous_x);
        previous_y = choose(is_it, tour.y[i], previous_y);
      }
      sorted_x[j] = choose(on_way, half * (next_y - previous_y), zero);
      sorted_y[j] = choose(on_way, half * (previous_x - next_x), zero);
      last_x = choose(last == splat<R>(j), tour.x[j], last_x);
      last_y = choose(last == splat<R>(j), tour.y[j], last_y);
      next_x = choose(on_way, tour.x[j], next_x);
      next_y = choose(on_way, tour.y[j], next_y);
      here = choose(on_way, before[j], here);
    }
    sorted_x[0] = half * (next_y - last_y);
    sorted_y[0] = half * (last_x - next_x);
    for (int k = 0; k < kHullPoints; ++k) {
      slope_x[k] = slope_y[k] = zero;
      for (int j = 0; j < kHullPoints; ++j) {
        const MaskOf<R> is_it = tour.origin[j] == splat<R>(k);
        slope_x[k] = choose(is_it, sorted_x[j], slope_x[k]);
        slope_y[k] = choose(is_it, sorted_y[j], slope_y[k]);
      }
    }
  }
  return half * whole;
}

}  // namespace stn_det::STN_DET_ISA
