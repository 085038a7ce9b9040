// What the host code and the kernels of multi-scale deformable attention share.
//
// Letters: N images, S positions, G heads, D channels a head, Q queries, L levels, K points.
#pragma once

#include <cstdint>

#include "element.h"
#include "parallel.h"

namespace stn_det {

// Sums, locations and weights are float64 where the value is float64, else float32.
struct AttentionArgs {
  int64_t images, positions, heads, channels, queries, levels, points;
  Element element;              // of value and output
  const int64_t* shapes;        // (L, 2) rows (H, W)
  const int64_t* starts;        // (L,)
  const void* value;            // (N, S, G, D)
  const void* locations;        // (N, Q, G, L, K, 2)
  const void* weights;          // (N, Q, G, L, K)
  void* output;                 // (N, Q, G, D), forward only
  const void* grad_output;      // (N, Q, G, D) of the summation type, backward only
  void* grad_value;             // (N, S, G, D) of the summation type, zeros
  void* grad_locations;         // as locations
  void* grad_weights;           // as weights
  int64_t threads;              // of the pool behind parallel_for
  ParallelFor parallel_for;
};

namespace baseline {
void ms_deform_attn_forward(const AttentionArgs& args);
void ms_deform_attn_backward(const AttentionArgs& args);
}  // namespace baseline

namespace avx2 {
void ms_deform_attn_forward(const AttentionArgs& args);
void ms_deform_attn_backward(const AttentionArgs& args);
}  // namespace avx2

}  // namespace stn_det
