// Vectors as wide as the processor's, through the compiler's extensions: one source for every instruction set.
//
// A file that includes this is compiled once per instruction set, each time with another STN_DET_ISA, so that no inline
// function built for one processor is linked into the code of another. For the same reason it includes no header of
// torch.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#ifdef __AVX2__
#include <immintrin.h>
#endif

#ifndef STN_DET_ISA
#error "compile with -DSTN_DET_ISA=baseline or -DSTN_DET_ISA=avx2"
#endif

namespace stn_det::STN_DET_ISA {

// The 16-bit types as they lie in memory.
struct Float16 {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

// Wider ones than the processor has are slow: their comparisons are taken apart lane by lane.
#ifdef __AVX2__
constexpr int64_t kVectorBytes = 32;
#else
constexpr int64_t kVectorBytes = 16;
#endif

template <typename A>
struct VecOf {
  typedef A type __attribute__((vector_size(kVectorBytes)));
};
template <typename A>
using Vec = typename VecOf<A>::type;
template <typename A>
constexpr int64_t kLanes = kVectorBytes / sizeof(A);

inline float to_float(Float16 x) {
  _Float16 value;
  std::memcpy(&value, &x, sizeof(value));
  return static_cast<float>(value);
}

inline float to_float(BFloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// One element in the type that sums are kept in.
template <typename A, typename T>
inline A widen(T x) {
  if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>) {
    return to_float(x);
  } else {
    return static_cast<A>(x);
  }
}

// One element rounded to the type of a tensor, ties to even.
template <typename T, typename A>
inline T narrow(A x) {
  if constexpr (std::is_same_v<T, Float16>) {
    const _Float16 value = static_cast<_Float16>(x);
    Float16 out;
    std::memcpy(&out, &value, sizeof(out));
    return out;
  } else if constexpr (std::is_same_v<T, BFloat16>) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof(bits));
    if (x != x) return BFloat16{0x7FC0};
    return BFloat16{static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)};
  } else {
    return static_cast<T>(x);
  }
}

template <typename A, typename T>
inline Vec<A> load(const T* p) {
  Vec<A> out;
  if constexpr (std::is_same_v<T, A>) {
    std::memcpy(&out, p, sizeof(out));
#if defined(__AVX2__) && defined(__F16C__)
  } else if constexpr (std::is_same_v<T, Float16>) {
    const __m256 wide = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    std::memcpy(&out, &wide, sizeof(out));
  } else if constexpr (std::is_same_v<T, BFloat16>) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m256i wide = _mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16);
    std::memcpy(&out, &wide, sizeof(out));
#endif
  } else {
    for (int64_t i = 0; i < kLanes<A>; ++i) out[i] = widen<A>(p[i]);
  }
  return out;
}

// The first and the second numbers of as many pairs as a vector has lanes.
template <typename A>
inline void load_pairs(const A* p, Vec<A>& first, Vec<A>& second) {
  using Int = std::conditional_t<sizeof(A) == 4, int32_t, int64_t>;
  const Vec<A> low = load<A>(p), high = load<A>(p + kLanes<A>);
  Vec<Int> even;
  for (int64_t i = 0; i < kLanes<A>; ++i) even[i] = static_cast<Int>(2 * i);
  first = __builtin_shuffle(low, high, even);
  second = __builtin_shuffle(low, high, even + 1);
}

template <typename A, typename T>
inline void store(T* p, Vec<A> x) {
  if constexpr (std::is_same_v<T, A>) {
    std::memcpy(p, &x, sizeof(x));
  } else {
    for (int64_t i = 0; i < kLanes<A>; ++i) p[i] = narrow<T>(static_cast<A>(x[i]));
  }
}

// Sum of the lanes, always in the same order.
template <typename A>
inline A sum(Vec<A> x) {
  A half[kLanes<A> / 2];
  for (int64_t i = 0; i < kLanes<A> / 2; ++i) half[i] = x[i] + x[i + kLanes<A> / 2];
  A out = 0;
  for (int64_t i = 0; i < kLanes<A> / 2; ++i) out += half[i];
  return out;
}

// The sums of four vectors, each always in the same order.
template <typename A>
inline void sum_four(const Vec<A>* x, A* out) {
#ifdef __AVX2__
  if constexpr (std::is_same_v<A, float>) {
    __m256 wide[4];
    std::memcpy(wide, x, sizeof(wide));
    const __m256 halves = _mm256_hadd_ps(_mm256_hadd_ps(wide[0], wide[1]), _mm256_hadd_ps(wide[2], wide[3]));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1)));
    return;
  }
#endif
  for (int i = 0; i < 4; ++i) out[i] = sum<A>(x[i]);
}

}  // namespace stn_det::STN_DET_ISA
