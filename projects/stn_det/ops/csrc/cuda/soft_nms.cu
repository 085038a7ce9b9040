// Soft non-maximum suppression of axis-aligned boxes on CUDA: one block, one visit after the other.
//
// A visit lowers the scores by the overlap with the visited box and finds the best of the rest on the way. Few boxes
// stay in registers of one thread from the first visit to the last. More lie in memory, and every now and then a visit
// copies those that are not gone to a place of their own, so that the next visits read no others. Their order there
// differs from run to run, and no result depends on it.
#include "../entry/nms.h"

#include "../common/shapes.h"
#include "elements.h"

namespace stn_det::cuda {
namespace {

constexpr int kFewThreads = 256, kManyThreads = 1024;
constexpr int kHeld = static_cast<int>(kSoftNmsHeld) / kFewThreads;  // boxes a thread in registers
constexpr int kMoves = 64;  // boxes are copied each time that one in so many has been visited

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
__device__ __forceinline__ Candidate<A> as_candidate(const SoftNmsArgs& args, const A* raw) {
  const A offset = static_cast<A>(args.offset);
  return {{{raw[0], raw[1], raw[2], raw[3]}}, (raw[2] - raw[0] + offset) * (raw[3] - raw[1] + offset)};
}

template <typename A>
__device__ __forceinline__ Candidate<A> load_candidate(const SoftNmsArgs& args, int64_t box) {
  return as_candidate(args, static_cast<const A*>(args.boxes) + 4 * box);
}

template <typename A>
constexpr A kGone = -std::numeric_limits<A>::infinity();

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
  return lowered >= static_cast<A>(args.min_score) ? lowered : kGone<A>;  // also of NaN
}

// Score of a box before the first visit.
template <typename A>
__device__ __forceinline__ A first_score(const SoftNmsArgs& args, int64_t box, const Candidate<A>& sides) {
  const A score = static_cast<const A*>(args.scores)[box];
  const bool proper = score >= static_cast<A>(args.min_score) && usable<4>(sides.sides.at);  // false for NaN
  return proper ? score : kGone<A>;
}

// At most kHeld * kThreads boxes.
template <typename A, int kThreads>
struct InRegisters {
  Candidate<A> held[kHeld];
  A scores[kHeld];

  __device__ __forceinline__ Best<A> begin(const SoftNmsArgs& args) {
    const int count = static_cast<int>(args.count);
    Best<A> best{kGone<A>, count};
    for (int k = 0; k < kHeld; ++k) {
      const int box = threadIdx.x + k * kThreads;
      scores[k] = kGone<A>;
      if (box >= count) continue;
      held[k] = load_candidate<A>(args, box);
      scores[k] = first_score(args, box, held[k]);
      best.see(scores[k], box);
    }
    return best;
  }

  // The best of the others after a visit to box `at`.
  __device__ __forceinline__ Best<A> visit(const SoftNmsArgs& args, int at, const Candidate<A>& visited) {
    Best<A> best{kGone<A>, static_cast<int>(args.count)};
    for (int k = 0; k < kHeld; ++k) {
      const int box = threadIdx.x + k * kThreads;
      if (!(scores[k] > kGone<A>)) continue;
      scores[k] = box == at ? kGone<A> : lower(args, visited, held[k], scores[k]);
      best.see(scores[k], box);
    }
    return best;
  }
};

// A box in memory. Twice as many as there are boxes fit the scratch memory.
template <typename A>
struct alignas(8) Waiting {
  A sides[4];
  A score;
  int box;
};

// Any number of boxes.
template <typename A, int kThreads>
struct InMemory {
  bool second;       // which half of the scratch memory holds the boxes; they are copied to the other one
  unsigned count;    // of them, some of which may be gone
  unsigned visits;   // until they are copied
  unsigned* copied;  // how many have been so far

  __device__ __forceinline__ Best<A> begin(const SoftNmsArgs& args) {
    __shared__ unsigned shared_copied;
    copied = &shared_copied;
    if (threadIdx.x == 0) *copied = 0;
    __syncthreads();
    second = true;
    Best<A> best{kGone<A>, static_cast<int>(args.count)};
    for (unsigned first = 0; first < args.count; first += kThreads) {
      const unsigned box = first + threadIdx.x;
      Waiting<A> one{{}, kGone<A>, static_cast<int>(box)};
      if (box < args.count) {
        const Candidate<A> sides = load_candidate<A>(args, box);
        for (int k = 0; k < 4; ++k) one.sides[k] = sides.sides.at[k];
        one.score = first_score(args, box, sides);
        best.see(one.score, one.box);
      }
      copy(args, one);
    }
    change_over();
    return best;
  }

  __device__ __forceinline__ Best<A> visit(const SoftNmsArgs& args, int at, const Candidate<A>& visited) {
    Best<A> best{kGone<A>, static_cast<int>(args.count)};
    const bool copies = --visits == 0;
    for (unsigned first = 0; first < count; first += kThreads) {
      const unsigned i = first + threadIdx.x;
      Waiting<A> one{{}, kGone<A>, 0};
      if (i < count) one = half(args, second)[i];
      if (one.score > kGone<A>) {
        const A score = one.box == at ? kGone<A> : lower(args, visited, as_candidate(args, one.sides), one.score);
        if (score != one.score) half(args, second)[i].score = score;
        one.score = score;
        best.see(score, one.box);
      }
      if (copies) copy(args, one);
    }
    if (copies) change_over();
    return best;
  }

  static __device__ __forceinline__ Waiting<A>* half(const SoftNmsArgs& args, bool second) {
    return static_cast<Waiting<A>*>(args.scratch) + (second ? args.count : 0);
  }

  // Appends a box to the other half unless it is gone; all threads of a warp together.
  __device__ __forceinline__ void copy(const SoftNmsArgs& args, const Waiting<A>& one) {
    const int lane = threadIdx.x % 32;
    const unsigned stay = __ballot_sync(0xffffffffu, one.score > kGone<A>);
    unsigned place = lane == 0 ? atomicAdd(copied, static_cast<unsigned>(__popc(stay))) : 0;
    place = __shfl_sync(0xffffffffu, place, 0) + __popc(stay & ((1u << lane) - 1));
    if (stay >> lane & 1) half(args, !second)[place] = one;
  }

  // Goes on with the other half.
  __device__ __forceinline__ void change_over() {
    __syncthreads();
    count = *copied;
    visits = count / kMoves + 1;
    second = !second;
    __syncthreads();
    if (threadIdx.x == 0) *copied = 0;  // a visit begins with a barrier
  }
};

template <typename A, int kThreads, typename Boxes>
__global__ void __launch_bounds__(kThreads) visit_all(SoftNmsArgs args) {
  constexpr int kWarps = kThreads / 32;
  __shared__ Best<A> found[2][kWarps];
  const int lane = threadIdx.x % 32, count = static_cast<int>(args.count);
  Boxes boxes;
  Best<A> best = boxes.begin(args);
  int64_t visits = 0;
  for (;; ++visits) {
    // Two sets of places by turns, so that one barrier a visit is enough.
    Best<A>* parts = found[visits % 2];
    best.see_warp();
    if (lane == 0) parts[threadIdx.x / 32] = best;
    __syncthreads();
    best = lane < kWarps ? parts[lane] : Best<A>{kGone<A>, count};
    best.see_warp();
    if (!(best.score > kGone<A>)) break;
    if (threadIdx.x == 0) {
      args.visits[visits] = best.box;
      static_cast<A*>(args.lowered)[visits] = best.score;
    }
    best = boxes.visit(args, best.box, load_candidate<A>(args, best.box));
  }
  for (int64_t i = visits + threadIdx.x; i < count; i += kThreads) args.visits[i] = -1;
}

}  // namespace

void soft_nms(const SoftNmsArgs& args) {
  if (args.count == 0) return;
  for_wide_element(args.element, [&](auto element) {
    using A = decltype(element);
    static_assert(2 * sizeof(Waiting<A>) == kSoftNmsNumbers * sizeof(A));
    if (args.count <= kSoftNmsHeld) {
      const auto kernel = visit_all<A, kFewThreads, InRegisters<A, kFewThreads>>;
      launch("soft_nms", kernel, 1, kFewThreads, 0, args.stream, args);
    } else {
      const auto kernel = visit_all<A, kManyThreads, InMemory<A, kManyThreads>>;
      launch("soft_nms", kernel, 1, kManyThreads, 0, args.stream, args);
    }
  });
}

}  // namespace stn_det::cuda
