// What the host code and the kernel of the sigmoid focal loss share. M rows, C classes.
#pragma once

#include <cstdint>

#include "machine.h"

namespace stn_det {

constexpr int64_t kFocalChunk = 1024;  // terms whose sum is rounded once

// Weights, loss and slope are float64 where the input is float64, else float32.
struct FocalArgs : Machine {
  int64_t rows, classes;
  double gamma, alpha;
  Element element;           // of input
  const void* input;         // (M, C)
  const int64_t* target;     // (M,), outside [0, C): background
  const void* weight;        // (C,) or null
  void* loss;                // (M, C) or null
  void* slope;               // (M, C), derivative of each term to its logit, or null
  double* partial_sums;      // one for each kFocalChunk terms, or null
  void* total;               // (), their sum, written by kernels of CUDA only; null where partial_sums is
};

namespace baseline {
void sigmoid_focal_loss(const FocalArgs& args);
}  // namespace baseline

namespace avx2 {
void sigmoid_focal_loss(const FocalArgs& args);
}  // namespace avx2

namespace cuda {
void sigmoid_focal_loss(const FocalArgs& args);
}  // namespace cuda

}  // namespace stn_det
