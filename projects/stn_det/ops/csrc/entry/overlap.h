// What the host code and the kernels of the overlap operators share.
//
// Letters: M first shapes, N second shapes, F and S numbers that describe one.
#pragma once

#include <cstdint>

#include "machine.h"

namespace stn_det {

// Rotated boxes (5 numbers) with rotated boxes, rotated boxes with simple quadrilaterals (8), hulls (8) with hulls.
enum class OverlapKind { kRotated, kBoxQuad, kHull };

struct OverlapArgs : Machine {
  OverlapKind kind;
  Element element;          // of everything: kFloat64 or kFloat32
  bool aligned, iof;        // aligned: M = N and the matrix is its diagonal
  int64_t rows, columns;    // M, N
  const void* first;        // (M, F)
  const void* second;       // (N, S)
  void* output;             // (M, N) or (M,), forward only
  const void* grad_output;  // as output, backward only
  void* grad_first;         // (M, F)
  void* grad_second;        // (N, S)
};

// Backward of a matrix on CUDA: a block visits one segment of the shapes on the other side for this many of its own.
constexpr int64_t kOverlapOwners = 8;

// Segments that make enough blocks for a GPU, of a length that is worth a block.
inline int64_t overlap_segments(int64_t owners, int64_t others) {
  const int64_t wanted = 512 / ((owners + kOverlapOwners - 1) / kOverlapOwners), most = (others + 511) / 512;
  return wanted < 1 ? 1 : wanted < most ? wanted : most;
}

// IoU and GIoU of M pairs of rotated boxes.
struct GiouArgs : Machine {
  Element element;
  int64_t pairs;
  const void* first;      // (M, 5)
  const void* second;     // (M, 5)
  void* iou;              // (M,), forward only
  void* giou;             // (M,)
  const void* grad_iou;   // (M,), backward only
  const void* grad_giou;  // (M,)
  void* grad_first;       // (M, 5)
  void* grad_second;      // (M, 5)
};

namespace baseline {
void overlap_forward(const OverlapArgs& args);
void overlap_backward(const OverlapArgs& args);
void giou_forward(const GiouArgs& args);
void giou_backward(const GiouArgs& args);
}  // namespace baseline

namespace avx2 {
void overlap_forward(const OverlapArgs& args);
void overlap_backward(const OverlapArgs& args);
void giou_forward(const GiouArgs& args);
void giou_backward(const GiouArgs& args);
}  // namespace avx2

namespace cuda {
void overlap_forward(const OverlapArgs& args);
void overlap_backward(const OverlapArgs& args);
void giou_forward(const GiouArgs& args);
void giou_backward(const GiouArgs& args);
}  // namespace cuda

}  // namespace stn_det
