// Gradients of the overlap of shapes on CUDA.
//
// Matrix: one pass sums over the columns for the first shapes, one over the rows for the second ones. A warp owns a
// shape and collects the pairs that matter in the order of the others until there are enough for all lanes. Nothing
// depends on the order in which threads run.
#include "../entry/overlap.h"

#include "elements.h"
#include "pairs.h"

namespace stn_det::cuda {
namespace {

constexpr int kThreads = 128;

// Whether a shape went into the calculation as it is. Those that were taken as zeros have no gradient.
template <typename Shape, typename A>
__device__ __forceinline__ bool is_usable(const A* raw, const Numbers<A, Shape::kReady>& ready) {
  bool same = true;
  for (int k = 0; k < Shape::kRaw; ++k) same &= raw[k] == ready.at[k];
  return same;
}

// Row k with row k, one a thread.
template <typename Pair, typename A>
__global__ void __launch_bounds__(kThreads) visit_rows(OverlapArgs args) {
  using First = typename Pair::First;
  using Second = typename Pair::Second;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (row >= args.rows) return;
  const A* raw1 = static_cast<const A*>(args.first) + row * First::kRaw;
  const A* raw2 = static_cast<const A*>(args.second) + row * Second::kRaw;
  const Numbers<A, First::kReady> first = load_prepared<First>(raw1);
  const Numbers<A, Second::kReady> second = load_prepared<Second>(raw2);
  const A grad = static_cast<const A*>(args.grad_output)[row];
  A grad1[First::kRaw], grad2[Second::kRaw];
  Pair::backward(first.at, second.at, args.iof, &grad, grad1, grad2);
  const bool usable1 = is_usable<First>(raw1, first), usable2 = is_usable<Second>(raw2, second);
  A* to1 = static_cast<A*>(args.grad_first) + row * First::kRaw;
  A* to2 = static_cast<A*>(args.grad_second) + row * Second::kRaw;
  for (int k = 0; k < First::kRaw; ++k) to1[k] = usable1 ? grad1[k] : A(0);
  for (int k = 0; k < Second::kRaw; ++k) to2[k] = usable2 ? grad2[k] : A(0);
}

constexpr int kWarps = static_cast<int>(kOverlapOwners), kChunk = 32 * kWarps;

// What one side of a matrix has to know: its shapes, and where their gradients lie.
struct Side {
  const void *owners, *others, *grad;  // grad: (M, N)
  int64_t owner_count, other_count;
  int64_t owner_step, other_step;      // in grad
  int64_t groups, segment;             // blocks of owners; others that a block visits
  void* sums;                          // (segments, owners, F or S)
  bool iof;
};

// One warp an owner, eight owners a block and one segment of the others.
template <typename Pair, typename A, bool kFirstOwns>
__global__ void __launch_bounds__(kChunk) sum_gradients(Side side) {
  using Owner = std::conditional_t<kFirstOwns, typename Pair::First, typename Pair::Second>;
  using Other = std::conditional_t<kFirstOwns, typename Pair::Second, typename Pair::First>;
  __shared__ Bounds<A> bounds[kChunk];
  __shared__ A grads[kWarps][kChunk + 1];
  __shared__ int64_t lists[kWarps][64];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t number = blockIdx.x / side.groups, first_owner = (blockIdx.x - number * side.groups) * kWarps;
  const int64_t owner = first_owner + warp, begin = number * side.segment;
  const int64_t end = side.other_count - begin < side.segment ? side.other_count : begin + side.segment;
  const bool active = owner < side.owner_count;
  const A* own_raw = static_cast<const A*>(side.owners) + (active ? owner : 0) * Owner::kRaw;
  const A* others = static_cast<const A*>(side.others);
  const A* grad_output = static_cast<const A*>(side.grad);
  const Numbers<A, Owner::kReady> own = load_prepared<Owner>(own_raw);
  const bool usable = is_usable<Owner>(own_raw, own);
  const Bounds<A> own_bounds = active && usable ? Owner::bounds(own.at) : no_bounds<A>();
  A total[Owner::kRaw] = {};
  int64_t* list = lists[warp];
  const auto add = [&](int64_t other) {
    const Numbers<A, Other::kReady> shape = load_prepared<Other>(others + other * Other::kRaw);
    const A grad = grad_output[owner * side.owner_step + other * side.other_step];
    A grad1[Pair::First::kRaw], grad2[Pair::Second::kRaw];
    if constexpr (kFirstOwns) {
      Pair::backward(own.at, shape.at, side.iof, &grad, grad1, grad2);
      for (int k = 0; k < Owner::kRaw; ++k) total[k] += grad1[k];
    } else {
      Pair::backward(shape.at, own.at, side.iof, &grad, grad1, grad2);
      for (int k = 0; k < Owner::kRaw; ++k) total[k] += grad2[k];
    }
  };
  int waiting = 0;
  for (int64_t chunk = begin; chunk < end; chunk += kChunk) {
    __syncthreads();
    const int64_t mine = chunk + threadIdx.x;
    bounds[threadIdx.x] =
        mine < end ? Other::bounds(load_prepared<Other>(others + mine * Other::kRaw).at) : no_bounds<A>();
    for (int i = 0; i < kWarps; ++i) {
      // A warp reads along the rows of the matrix: a part of one, or eight numbers each of four.
      const int who = kFirstOwns ? i : lane % kWarps;
      const int at = kFirstOwns ? threadIdx.x : i * 32 + threadIdx.x / kWarps;
      const bool inside = first_owner + who < side.owner_count && chunk + at < end;
      grads[who][at] =
          inside ? grad_output[(first_owner + who) * side.owner_step + (chunk + at) * side.other_step] : A(0);
    }
    __syncthreads();
    for (int at = lane; at < kChunk; at += 32) {
      const bool counts = grads[warp][at] != 0 && bounds_meet(own_bounds, bounds[at]);
      const bool last = chunk + kChunk >= end && at >= kChunk - 32;
      const unsigned votes = __ballot_sync(0xffffffffu, counts);
      if (counts) list[waiting + __popc(votes & ((1u << lane) - 1))] = chunk + at;
      waiting += __popc(votes);
      __syncwarp();
      while (waiting >= 32 || (last && waiting > 0)) {
        if (lane < waiting) add(list[lane]);
        const int64_t next = list[32 + lane];  // what lies beyond the end is not used
        __syncwarp();
        list[lane] = next;
        __syncwarp();
        waiting = waiting > 32 ? waiting - 32 : 0;
      }
    }
  }
  for (int k = 0; k < Owner::kRaw; ++k) {
    for (int bits = 16; bits > 0; bits /= 2) total[k] += __shfl_xor_sync(0xffffffffu, total[k], bits);
  }
  if (!active || lane != 0) return;
  A* to = static_cast<A*>(side.sums) + (number * side.owner_count + owner) * Owner::kRaw;
  for (int k = 0; k < Owner::kRaw; ++k) to[k] = total[k];
}

// Sums of the segments, in their order.
template <typename A>
__global__ void __launch_bounds__(kThreads) add_segments(const A* parts, int64_t segments, int64_t count, A* sums) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  A sum = 0;
  for (int64_t number = 0; number < segments; ++number) sum += parts[number * count + i];
  sums[i] = sum;
}

template <typename Pair, typename A, bool kFirstOwns>
void run_side(const OverlapArgs& args) {
  const int64_t owners = kFirstOwns ? args.rows : args.columns, others = kFirstOwns ? args.columns : args.rows;
  const int64_t size = owners * (kFirstOwns ? Pair::First::kRaw : Pair::Second::kRaw);
  const int64_t segments = overlap_segments(owners, others);
  void* grad = kFirstOwns ? args.grad_first : args.grad_second;
  Side side{};
  side.owners = kFirstOwns ? args.first : args.second;
  side.others = kFirstOwns ? args.second : args.first;
  side.grad = args.grad_output;
  side.owner_count = owners;
  side.other_count = others;
  side.owner_step = kFirstOwns ? args.columns : 1;
  side.other_step = kFirstOwns ? 1 : args.columns;
  side.groups = (owners + kWarps - 1) / kWarps;
  side.segment = ((others + segments - 1) / segments + kChunk - 1) / kChunk * kChunk;
  side.sums = segments > 1 ? args.scratch : grad;
  side.iof = args.iof;
  launch(
      "overlap_backward", sum_gradients<Pair, A, kFirstOwns>, blocks_for(side.groups * segments, 1), kChunk, 0,
      args.stream, side);
  if (segments == 1) return;
  launch(
      "add_segments", add_segments<A>, blocks_for(size, kThreads), kThreads, 0, args.stream,
      static_cast<const A*>(args.scratch), segments, size, static_cast<A*>(grad));
}

template <typename Pair, typename A>
void run(const OverlapArgs& args) {
  if (args.aligned) {
    launch("overlap_backward", visit_rows<Pair, A>, blocks_for(args.rows, kThreads), kThreads, 0, args.stream, args);
    return;
  }
  run_side<Pair, A, true>(args);
  run_side<Pair, A, false>(args);
}

}  // namespace

void overlap_backward(const OverlapArgs& args) {
  for_wide_element(args.element, [&](auto element) {
    using A = decltype(element);
    switch (args.kind) {
      case OverlapKind::kRotated: return run<RotatedOverlap<A>, A>(args);
      case OverlapKind::kBoxQuad: return run<BoxQuadOverlap<A>, A>(args);
      case OverlapKind::kHull: return run<HullOverlap<A>, A>(args);
    }
  });
}

}  // namespace stn_det::cuda
