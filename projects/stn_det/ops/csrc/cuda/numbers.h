// What the shared geometry asks of a number, for one pair of boxes a thread; see cpu/lanes.h for vectors of them.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "../common/inline.h"
#include "launch.h"

#define STN_DET_APART STN_DET_INLINE
// Before a loop that is to stay one.
#ifdef __CUDA_ARCH__
#define STN_DET_ROLLED _Pragma("unroll 1")
#else
#define STN_DET_ROLLED
#endif

namespace stn_det::STN_DET_ISA {

template <typename R>
using ScalarOf = R;
template <typename R>
using MaskOf = bool;

template <typename R>
STN_DET_INLINE R splat(double x) {
  return static_cast<R>(x);
}

template <typename R>
STN_DET_INLINE R choose(MaskOf<R> where, R yes, R no) {
  return where ? yes : no;
}

// Of a NaN and a number the second argument.
template <typename R>
STN_DET_INLINE R lesser(R a, R b) {
  return a < b ? a : b;
}
template <typename R>
STN_DET_INLINE R greater(R a, R b) {
  return a > b ? a : b;
}

template <typename R>
STN_DET_INLINE R magnitude(R x) {
  return greater(x, -x);
}

STN_DET_INLINE void sine_and_cosine(float angle, float& sine, float& cosine) {
  sincosf(angle, &sine, &cosine);
}
STN_DET_INLINE void sine_and_cosine(double angle, double& sine, double& cosine) {
  sincos(angle, &sine, &cosine);
}

}  // namespace stn_det::STN_DET_ISA
