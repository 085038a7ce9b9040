// Elementary functions on vectors. All of them let NaN through.
#pragma once

#include "simd.h"

namespace stn_det::STN_DET_ISA {

template <typename A>
struct ExpOf;

// Powers of two are put together from bits: `kShift` is 1.5 * 2^(bits of the fraction), so that adding it rounds to a
// whole number, which is then found in the lowest bits.
template <>
struct ExpOf<float> {
  typedef int32_t Bits;
  static constexpr float kShift = 12582912.0f, kLowest = -87.0f;
  static constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  static constexpr int kFraction = 23, kBias = 127, kDegree = 7, kLogTerms = 8;
};
template <>
struct ExpOf<double> {
  typedef int64_t Bits;
  static constexpr double kShift = 6755399441055744.0, kLowest = -708.0;
  static constexpr double kLn2High = 0.693147180369123816490, kLn2Low = 1.90821492927058770002e-10;
  static constexpr int kFraction = 52, kBias = 1023, kDegree = 13, kLogTerms = 17;
};

// exp(x) for x <= 0; results too small for a normal number become 0. x = n ln 2 + r with |r| <= ln(2) / 2, and exp(r)
// as its Taylor polynomial, whose error there is 5e-9 (float) and 2e-17 (double) of the result.
template <typename A>
inline Vec<A> exp_of_negative(Vec<A> x) {
  using C = ExpOf<A>;
  using BitVec = Vec<typename C::Bits>;
  const Vec<A> zero = {};
  const BitVec tiny = x < C::kLowest;
  const Vec<A> safe = tiny ? zero + C::kLowest : x;
  const Vec<A> shifted = safe * A(1.4426950408889634) + C::kShift;
  const Vec<A> whole = shifted - C::kShift;
  const Vec<A> r = (safe - whole * C::kLn2High) - whole * C::kLn2Low;
  A inverse_factorials[C::kDegree + 1] = {1};
  for (int i = 1; i <= C::kDegree; ++i) inverse_factorials[i] = inverse_factorials[i - 1] / static_cast<A>(i);
  Vec<A> sum = zero + inverse_factorials[C::kDegree];
  for (int i = C::kDegree - 1; i >= 0; --i) sum = sum * r + inverse_factorials[i];
  BitVec bits;
  std::memcpy(&bits, &shifted, sizeof(bits));
  bits = (bits + C::kBias) << C::kFraction;
  Vec<A> scale;
  std::memcpy(&scale, &bits, sizeof(scale));
  return tiny ? zero : sum * scale;
}

// log(1 + x) for x in [0, 1], as 2 artanh(x / (2 + x)): the argument is at most 1/3 and its series short.
template <typename A>
inline Vec<A> log1p_of_fraction(Vec<A> x) {
  constexpr int terms = ExpOf<A>::kLogTerms;
  const Vec<A> s = x / (x + A(2)), square = s * s;
  Vec<A> sum = Vec<A>{} + A(1) / A(2 * terms + 1);
  for (int i = terms - 1; i > 0; --i) sum = sum * square + A(1) / static_cast<A>(2 * i + 1);
  return s * 2 + (s * 2) * (square * sum);
}

}  // namespace stn_det::STN_DET_ISA
