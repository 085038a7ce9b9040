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

// CUDA decides this many boxes at a time, in the order of the visits.
constexpr int64_t kNmsPanel = 4096;

inline int64_t nms_numbers(NmsKind kind) { return kind == NmsKind::kHBox ? 4 : kind == NmsKind::kRotated ? 7 : 8; }

// Bytes of scratch that CUDA needs: of each box its bounds, area, prepared shape, label, and who claims it; of each box
// of a panel one bit for each box of the panel.
inline int64_t nms_scratch_bytes(NmsKind kind, int64_t count, int64_t size) {
  const int64_t panel = count < kNmsPanel ? (count + 63) / 64 * 64 : kNmsPanel;
  return panel * (panel / 64) * 8 + count * (size * (5 + nms_numbers(kind)) + 8 + 4) + 64;
}

// CUDA keeps this many boxes of soft_nms in registers. Of more each takes the room of this many numbers of scratch:
// twice its sides, score and index.
constexpr int64_t kSoftNmsHeld = 1024, kSoftNmsNumbers = 12;

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
