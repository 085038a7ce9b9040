// What the host code and the kernels of non-maximum suppression share.
#pragma once

#include <cstdint>

#include "machine.h"

namespace stn_det {

// Axis-aligned boxes (4 numbers), rotated boxes (5), convex hulls of quadrilaterals (8).
enum class NmsKind { kHBox, kRotated, kHull };

struct NmsArgs : Machine {
  NmsKind kind;
  Element element;        // of the boxes: kFloat64 or kFloat32
  int64_t count;          // M
  const void* boxes;      // (M, 4 | 5 | 8)
  const int64_t* order;   // (M,) a permutation, by falling score
  const int64_t* labels;  // (M,)
  double threshold;
  int64_t* owner;         // (M,)
};

enum class SoftMethod : int64_t { kNaive = 0, kLinear = 1, kGaussian = 2 };

struct SoftNmsArgs : Machine {
  Element element;     // of boxes and scores: kFloat64 or kFloat32
  int64_t count;       // M
  const void* boxes;   // (M, 4)
  const void* scores;  // (M,)
  double threshold, sigma, min_score, offset;
  SoftMethod method;
  int64_t* visits;     // (M,), -1 after the last visit
  void* lowered;       // (M,) zeros, the first K of which are written
};

namespace baseline {
void nms(const NmsArgs& args);
void soft_nms(const SoftNmsArgs& args);
}  // namespace baseline

namespace avx2 {
void nms(const NmsArgs& args);
void soft_nms(const SoftNmsArgs& args);
}  // namespace avx2

namespace cuda {
void nms(const NmsArgs& args);
void soft_nms(const SoftNmsArgs& args);
}  // namespace cuda

}  // namespace stn_det
