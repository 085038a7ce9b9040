// The dtypes of tensors in kernels: loads, stores, conversions and sums.
#pragma once

#include <cstring>
#include <type_traits>

#include "../entry/element.h"
#include "launch.h"

namespace stn_det::cuda {

struct Half {
  uint16_t bits;
};

struct BFloat16 {
  uint16_t bits;
};

// What sums over elements are kept in: double for double, float for all others.
template <typename T>
using SumOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

__device__ __forceinline__ double to_sum(double x) { return x; }
__device__ __forceinline__ float to_sum(float x) { return x; }

#ifdef __CUDACC__

__device__ __forceinline__ float to_sum(BFloat16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }
__device__ __forceinline__ float to_sum(Half x) {
  float out;
  asm("cvt.f32.f16 %0, %1;" : "=f"(out) : "h"(x.bits));
  return out;
}

#else

inline float to_sum(BFloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float out;
  std::memcpy(&out, &bits, sizeof(out));
  return out;
}
inline float to_sum(Half x) {
  _Float16 half;
  std::memcpy(&half, &x.bits, sizeof(half));
  return static_cast<float>(half);
}

#endif

// A sum rounded to the nearest element.
template <typename T>
__device__ __forceinline__ T from_sum(SumOf<T> x) {
  if constexpr (std::is_same_v<T, Half>) {
    T out;
#ifdef __CUDACC__
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out.bits) : "f"(x));
#else
    const _Float16 half = static_cast<_Float16>(x);
    std::memcpy(&out.bits, &half, sizeof(half));
#endif
    return out;
  } else if constexpr (std::is_same_v<T, BFloat16>) {
    T out;
#ifdef __CUDACC__
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(out.bits) : "f"(x));
#else
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof(bits));
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    out.bits = static_cast<uint16_t>(nan ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
#endif
    return out;
  } else {
    return x;
  }
}

// Elements that are loaded and stored by one instruction of up to 16 bytes.
template <typename T, int kCount>
struct alignas(sizeof(T) * kCount) Pack {
  T at[kCount];
};

// Elements of one instruction, where the memory allows the widest.
template <typename T>
constexpr int kWidest = 16 / static_cast<int>(sizeof(T));

template <typename T, int kCount>
__device__ __forceinline__ Pack<T, kCount> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, kCount>*>(from);
}

template <typename T, int kCount>
__device__ __forceinline__ void store_pack(T* to, const Pack<T, kCount>& pack) {
  *reinterpret_cast<Pack<T, kCount>*>(to) = pack;
}

// Whether rows of `length` elements from `pointer` on can be read in packs of 16 bytes.
template <typename T>
inline bool fits_packs(const void* pointer, int64_t length) {
  return length % kWidest<T> == 0 && reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

// Calls visit(T()) with the type of the elements.
template <typename Visit>
inline void for_element(Element element, const Visit& visit) {
  switch (element) {
    case Element::kFloat64: return visit(double());
    case Element::kFloat32: return visit(float());
    case Element::kFloat16: return visit(Half());
    case Element::kBFloat16: return visit(BFloat16());
  }
}

// The same where only float and double occur.
template <typename Visit>
inline void for_wide_element(Element element, const Visit& visit) {
  element == Element::kFloat64 ? visit(double()) : visit(float());
}

}  // namespace stn_det::cuda
