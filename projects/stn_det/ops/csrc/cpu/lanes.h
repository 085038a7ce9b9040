// What the shared geometry asks of a number, for the vectors of simd.h; one pair of boxes a lane.
#pragma once

#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "../common/inline.h"
#include "simd.h"

// A function of its own, never inlined.
#define STN_DET_APART __attribute__((noinline))

namespace stn_det::STN_DET_ISA {

template <typename R>
using ScalarOf = std::remove_cvref_t<decltype(std::declval<R&>()[0])>;
template <typename R>
using MaskOf = decltype(std::declval<R>() < std::declval<R>());

template <typename R>
inline R splat(double x) {
  return R{} + static_cast<ScalarOf<R>>(x);
}

template <typename R>
inline R choose(MaskOf<R> where, R yes, R no) {
  return where ? yes : no;
}

// Of a NaN and a number the second argument.
template <typename R>
inline R lesser(R a, R b) {
  return a < b ? a : b;
}
template <typename R>
inline R greater(R a, R b) {
  return a > b ? a : b;
}

template <typename R>
inline R magnitude(R x) {
  return greater(x, -x);
}

// One bit a lane of a mask.
template <typename R>
inline uint32_t bits_of(MaskOf<R> mask) {
#ifdef __AVX2__
  if constexpr (sizeof(ScalarOf<R>) == 4) {
    __m256 wide;
    std::memcpy(&wide, &mask, sizeof(wide));
    return static_cast<uint32_t>(_mm256_movemask_ps(wide));
  } else {
    __m256d wide;
    std::memcpy(&wide, &mask, sizeof(wide));
    return static_cast<uint32_t>(_mm256_movemask_pd(wide));
  }
#else
  uint32_t bits = 0;
  for (int64_t i = 0; i < kLanes<ScalarOf<R>>; ++i) bits |= static_cast<uint32_t>(mask[i] & 1) << i;
  return bits;
#endif
}

// pi / 2 in three parts: products of the first two with a whole number of quarter turns up to the limit are exact.
template <typename A>
struct QuarterTurn;
template <>
struct QuarterTurn<float> {
  static constexpr float kHigh = 0x1.92p+0f, kMiddle = 0x1.fb4p-12f, kLow = 0x1.4442d2p-24f, kLimit = 8192;
  static constexpr float kRounder = 0x1.8p+23f;
  static constexpr int kTerms = 5;
};
template <>
struct QuarterTurn<double> {
  static constexpr double kHigh = 0x1.921fb544p+0, kMiddle = 0x1.0b4611a6p-34, kLow = 0x1.3198a2e037073p-69;
  static constexpr double kLimit = 1 << 20, kRounder = 0x1.8p+52;
  static constexpr int kTerms = 9;
};

// Within 2 ulp of 1 for angles up to the limit; beyond, and for NaN, the C library's.
template <typename R>
inline void sine_and_cosine(R angle, R& sine, R& cosine) {
  using A = ScalarOf<R>;
  using Part = QuarterTurn<A>;
  constexpr uint32_t kAll = (1u << kLanes<A>) - 1;
  if (bits_of<R>(magnitude(angle) <= splat<R>(Part::kLimit)) != kAll) {
    for (int64_t i = 0; i < kLanes<A>; ++i) {
      sine[i] = std::sin(angle[i]);
      cosine[i] = std::cos(angle[i]);
    }
    return;
  }
  // Adding and taking away this number rounds to a whole one, and leaves its last bits in the last bits of the sum.
  const R rounder = splat<R>(Part::kRounder);
  const R shifted = angle * splat<R>(0.63661977236758134308) + rounder;
  const R turns = shifted - rounder;
  const R rest = ((angle - turns * splat<R>(Part::kHigh)) - turns * splat<R>(Part::kMiddle)) -
                 turns * splat<R>(Part::kLow);
  const R square = rest * rest;
  // Taylor's series within an eighth of a turn, innermost term first: x (1 - x^2 / (2 * 3) (1 - x^2 / (4 * 5) (...))).
  R s = splat<R>(1), c = splat<R>(1);
  for (int n = Part::kTerms; n >= 1; --n) {
    c = splat<R>(1) - c * square * splat<R>(1.0 / ((2 * n - 1) * (2 * n)));
    if (n > 1) s = splat<R>(1) - s * square * splat<R>(1.0 / ((2 * n - 2) * (2 * n - 1)));
  }
  s *= rest;
  MaskOf<R> quarter;
  std::memcpy(&quarter, &shifted, sizeof(quarter));
  const MaskOf<R> odd = (quarter & 1) != 0;
  const R turned_s = choose(odd, c, s), turned_c = choose(odd, s, c);
  sine = choose((quarter & 2) != 0, -turned_s, turned_s);
  cosine = choose(((quarter + 1) & 2) != 0, -turned_c, turned_c);
}

}  // namespace stn_det::STN_DET_ISA
