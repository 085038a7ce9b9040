// What the host code and the kernels of multi-scale deformable attention share.
//
// Letters: N images, S positions, G heads, D channels a head, Q queries, L levels, K points, R numbers a reference.
#pragma once

#include <cstdint>

#include "machine.h"

namespace stn_det {

// Where the points of a query lie and what they weigh comes in one of two forms. Given: `locations` and `weights`.
// Fused: `references`, `offsets` and `logits`; then the gradients to `locations` and `weights` are those to `offsets`
// and `logits`.
//
// All numbers but value and output are float64 where the value is float64, else float32, and so are sums.
struct AttentionArgs : Machine {
  int64_t images, positions, heads, channels, queries, levels, points;
  Element element;              // of value and output
  const int64_t* shapes;        // (L, 2) rows (H, W)
  const int64_t* starts;        // (L,)
  const void* value;            // (N, S, G, D)
  const void* locations;        // (N, Q, G, L, K, 2) in fractions of the level
  const void* weights;          // (N, Q, G, L, K)
  int64_t reference_size;       // R: 2 points, 4 boxes, 5 oriented boxes; 0 where not fused
  const void* references;       // (N, Q, L, R) in fractions of the level, radians
  const void* offsets;          // (N, Q, G, L, K, 2) in pixels, or K-ths of half a box
  const void* logits;           // (N, Q, G, L * K)
  void* frames;                 // (N, Q, L, 6) scratch, fused on the CPU only
  void* output;                 // (N, Q, G, D), forward only
  const void* grad_output;      // (N, Q, G, D), backward only
  void* grad_value;             // (N, S, G, D), zeros unless samples are dense
  void* grad_locations;         // (N, Q, G, L, K, 2)
  void* grad_weights;           // (N, Q, G, L, K)
  void* grad_references;        // (N, Q, L, R), fused only; on CUDA null where nobody wants it
};

constexpr int64_t kMostLevels = 128;  // on CUDA, which keeps their shapes in shared memory

inline bool is_fused(const AttentionArgs& args) { return args.reference_size != 0; }

// A level without pixels has 0 rows and 0 columns, whatever the other number says.
inline int64_t rows_of(const AttentionArgs& args, int64_t level) {
  return args.shapes[2 * level + 1] == 0 ? 0 : args.shapes[2 * level];
}
inline int64_t columns_of(const AttentionArgs& args, int64_t level) {
  return args.shapes[2 * level] == 0 ? 0 : args.shapes[2 * level + 1];
}

// Pixels of a level of one head in a copy with a border of zeros; see ms_deform_attn_tiles.h.
inline int64_t padded_pixels(const AttentionArgs& args, int64_t level) {
  return (rows_of(args, level) + 3) * (columns_of(args, level) + 1) + 1;
}

// Whether so many samples are taken that copies of the levels pay. Their pixels are counted in 32 bits.
inline bool samples_are_dense(const AttentionArgs& args) {
  if (args.queries * args.levels * args.points <= 2 * args.positions) return false;
  for (int64_t level = 0; level < args.levels; ++level) {
    if (padded_pixels(args, level) >= int64_t{1} << 31) return false;
  }
  return true;
}

namespace baseline {
void ms_deform_attn_forward(const AttentionArgs& args);
void ms_deform_attn_backward(const AttentionArgs& args);
}  // namespace baseline

namespace avx2 {
void ms_deform_attn_forward(const AttentionArgs& args);
void ms_deform_attn_backward(const AttentionArgs& args);
}  // namespace avx2

namespace cuda {
void ms_deform_attn_forward(const AttentionArgs& args);
void ms_deform_attn_backward(const AttentionArgs& args);
}  // namespace cuda

}  // namespace stn_det
