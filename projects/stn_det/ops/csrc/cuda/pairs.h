// Shapes and pairs of them on a GPU, one a thread.
#pragma once

#include "../common/shapes.h"
#include "launch.h"

namespace stn_det::cuda {

// The numbers of one shape, which calls pass in registers.
template <typename A, int kCount>
struct Numbers {
  A at[kCount];
};

template <int kCount, typename A>
__device__ __forceinline__ Numbers<A, kCount> load_numbers(const A* from) {
  Numbers<A, kCount> out;
  for (int k = 0; k < kCount; ++k) out.at[k] = from[k];
  return out;
}

// Overlap of two prepared shapes. Never inlined: the compiler joins products and sums as it sees fit in each place, and
// whoever asks for the overlap of two shapes is to get the same bits. For the same reason `iof` must not be a constant.
template <typename Pair, typename A>
__device__ __attribute__((noinline)) A exact_overlap(
    Numbers<A, Pair::First::kReady> first, Numbers<A, Pair::Second::kReady> second, bool iof) {
  A out;
  Pair::overlap(first.at, second.at, iof, &out);
  return out;
}

template <typename Shape, typename A>
__device__ __forceinline__ Numbers<A, Shape::kReady> load_prepared(const A* raw) {
  const Numbers<A, Shape::kRaw> from = load_numbers<Shape::kRaw>(raw);
  Numbers<A, Shape::kReady> out;
  Shape::prepare(from.at, out.at);
  return out;
}

template <typename A>
__device__ __forceinline__ bool bounds_meet(const Bounds<A>& one, const Bounds<A>& other) {
  return (one.low_x <= other.high_x) & (other.low_x <= one.high_x) & (one.low_y <= other.high_y) &
         (other.low_y <= one.high_y);
}

// Bounds that meet no others.
template <typename A>
__device__ __forceinline__ Bounds<A> no_bounds() {
  const A beyond = std::numeric_limits<A>::infinity();
  return {beyond, beyond, -beyond, -beyond};
}

// Adds `value` of the threads for which `wanted` holds to the end of a list in shared memory. All lanes of the warp
// come together; the order of warps in the list is left to chance.
template <typename T>
__device__ __forceinline__ void append(bool wanted, T value, T* list, int* length) {
  const unsigned votes = __ballot_sync(0xffffffffu, wanted);
  if (votes == 0) return;
  const unsigned lane = threadIdx.x % 32;
  int begin = 0;
  if (lane == 0) begin = atomicAdd(length, __popc(votes));
  begin = __shfl_sync(0xffffffffu, begin, 0);
  if (wanted) list[begin + __popc(votes & ((1u << lane) - 1))] = value;
}

}  // namespace stn_det::cuda
