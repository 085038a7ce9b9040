// Soft non-maximum suppression of axis-aligned boxes on CUDA: one block, one visit after the other.
//
// A visit lowers the scores by the overlap with the visited box and finds the best of the rest on the way. Each thread
// has boxes of its own; few boxes stay in registers from the first visit to the last.
#include "../entry/nms.h"

#include "../common/shapes.h"
#include "elements.h"

namespace stn_det::cuda {
namespace {

constexpr int kMostHeld = 4;  // boxes a thread in registers

template <typename A>
struct Best {
  A score;
  int box;

  // The higher score, of equal ones the lower index.
  __device__ __forceinline__ void see(A other_score, int other) {
    if (other_score > score || (other_score == score && other < box)) {
      score = other_score;
      box = other;
    }
  }

  __device__ __forceinline__ void see_warp() {
    for (int bits = 16; bits > 0; bits /= 2) {
      const A other_score = __shfl_xor_sync(0xffffffffu, score, bits);
      see(other_score, __shfl_xor_sync(0xffffffffu, box, bits));
    }
  }
};

template <typename A>
struct Candidate {
  Pack<A, 4> sides;
  A area;
};

template <typename A>
__device__ __forceinline__ Candidate<A> load_candidate(const SoftNmsArgs& args, int64_t box) {
  const A* raw = static_cast<const A*>(args.boxes) + 4 * box;
  const A offset = static_cast<A>(args.offset);
  return {{{raw[0], raw[1], raw[2], raw[3]}}, (raw[2] - raw[0] + offset) * (raw[3] - raw[1] + offset)};
}

// Score of a box that is not gone after a visit to `visited`.
template <typename A>
__device__ __forceinline__ A lower(
    const SoftNmsArgs& args, const Candidate<A>& visited, const Candidate<A>& box, A score) {
  const A offset = static_cast<A>(args.offset);
  const A *one = visited.sides.at, *other = box.sides.at;
  const A width = lesser(one[2], other[2]) - greater(one[0], other[0]) + offset;
  const A height = lesser(one[3], other[3]) - greater(one[1], other[1]) + offset;
  const A shared = greater(width, A(0)) * greater(height, A(0)), whole = visited.area + box.area - shared;
  const A overlap = whole > 0 ? shared / whole : A(0);
  A factor = 1;
  if (args.method == SoftMethod::kGaussian) {
    if (overlap != 0) factor = exp(-(overlap * overlap) / static_cast<A>(args.sigma));
  } else if (overlap >= static_cast<A>(args.threshold)) {
    factor = args.method == SoftMethod::kNaive ? A(0) : 1 - overlap;
  }
  const A lowered = score * factor;
  return lowered >= static_cast<A>(args.min_score) ? lowered : -std::numeric_limits<A>::infinity();  // also of NaN
}

// kHeld: boxes a thread in registers; 0: all scores lie in memory.
template <typename A, int kThreads, int kHeld>
__global__ void __launch_bounds__(kThreads) visit_all(SoftNmsArgs args) {
  constexpr int kWarps = kThreads / 32;
  constexpr A kGone = -std::numeric_limits<A>::infinity();
  __shared__ Best<A> found[2][kWarps];
  const int thread = threadIdx.x, lane = thread % 32, count = static_cast<int>(args.count);
  A* scores = static_cast<A*>(args.scratch);
  Candidate<A> held[kHeld > 0 ? kHeld : 1];
  A held_scores[kHeld > 0 ? kHeld : 1];
  Best<A> best{kGone, count};
  const auto first_score = [&](int64_t box) {
    const A score = static_cast<const A*>(args.scores)[box];
    const Candidate<A> sides = load_candidate<A>(args, box);
    const bool proper = score >= static_cast<A>(args.min_score) && usable<4>(sides.sides.at);  // false for NaN
    return proper ? score : kGone;
  };
  if constexpr (kHeld > 0) {
    for (int k = 0; k < kHeld; ++k) {
      const int box = thread + k * kThreads;
      held_scores[k] = kGone;
      if (box >= count) continue;
      held[k] = load_candidate<A>(args, box);
      held_scores[k] = first_score(box);
      best.see(held_scores[k], box);
    }
  } else {
    for (int64_t box = thread; box < count; box += kThreads) {
      scores[box] = first_score(box);
      best.see(scores[box], static_cast<int>(box));
    }
  }
  int64_t visits = 0;
  for (;; ++visits) {
    // Two sets of places by turns, so that one barrier a visit is enough.
    Best<A>* parts = found[visits % 2];
    best.see_warp();
    if (lane == 0) parts[thread / 32] = best;
    __syncthreads();
    best = lane < kWarps ? parts[lane] : Best<A>{kGone, count};
    best.see_warp();
    if (!(best.score > kGone)) break;
    const int at = best.box;
    if (thread == 0) {
      args.visits[visits] = at;
      static_cast<A*>(args.lowered)[visits] = best.score;
    }
    const Candidate<A> visited = load_candidate<A>(args, at);
    best = {kGone, count};
    if constexpr (kHeld > 0) {
      for (int k = 0; k < kHeld; ++k) {
        const int box = thread + k * kThreads;
        if (!(held_scores[k] > kGone)) continue;
        held_scores[k] = box == at ? kGone : lower(args, visited, held[k], held_scores[k]);
        best.see(held_scores[k], box);
      }
    } else {
      for (int64_t box = thread; box < count; box += kThreads) {
        const A score = scores[box];
        if (!(score > kGone)) continue;
        scores[box] = box == at ? kGone : lower(args, visited, load_candidate<A>(args, box), score);
        best.see(scores[box], static_cast<int>(box));
      }
    }
  }
  for (int64_t i = visits + thread; i < count; i += kThreads) args.visits[i] = -1;
}

}  // namespace

void soft_nms(const SoftNmsArgs& args) {
  if (args.count == 0) return;
  for_wide_element(args.element, [&](auto element) {
    using A = decltype(element);
    args.count <= 256 * kMostHeld
        ? launch("soft_nms", visit_all<A, 256, kMostHeld>, 1, 256, 0, args.stream, args)
        : launch("soft_nms", visit_all<A, 1024, 0>, 1, 1024, 0, args.stream, args);
  });
}

}  // namespace stn_det::cuda
