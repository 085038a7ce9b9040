// Sums that many threads add to, in two forms that kernels take as a template parameter.
//
// PlainSum adds floats in memory: fast, and the last bits depend on the order in which threads come.
//
// ExactSum adds whole numbers, whose sum does not depend on the order: for torch.use_deterministic_algorithms. Terms
// are multiplied by a power of two chosen so that no sum can overflow 62 bits, which leaves 2^-62 of the largest
// possible sum as resolution: with a million terms to an element 2^-42 of the largest term. Terms that are not finite
// go to the float sum, whose result is NaN or infinite in whatever order they come.
#pragma once

#include "../entry/machine.h"
#include "elements.h"

namespace stn_det::cuda {

template <typename A>
struct PlainSum {
  static constexpr bool kTakesPacks = true;
  A* sums;

  __device__ __forceinline__ void add(int64_t index, A term) const { atomicAdd(sums + index, term); }

  // Adds kCount terms side by side; the address has to be a multiple of the size of the pack.
  template <int kCount>
  __device__ __forceinline__ void add_pack(int64_t index, const Pack<A, kCount>& terms) const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    if constexpr (std::is_same_v<A, float> && kCount % 4 == 0) {
      for (int i = 0; i < kCount; i += 4) {
        asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(sums + index + i)),
                     "f"(terms.at[i]), "f"(terms.at[i + 1]), "f"(terms.at[i + 2]), "f"(terms.at[i + 3])
                     : "memory");
      }
    } else
#endif
    {
      for (int i = 0; i < kCount; ++i) atomicAdd(sums + index + i, terms.at[i]);
    }
  }
};

// Where the scale of exact sums lies, and how it comes about.
struct ExactScale {
  unsigned long long largest;  // bits of the largest finite magnitude of all terms, as a double
  double scale;
};

template <typename A>
struct ExactSum {
  static constexpr bool kTakesPacks = false;
  A* sums;                      // zeros at first
  unsigned long long* wholes;   // zeros at first; as many as sums
  const ExactScale* scale;

  __device__ __forceinline__ void add(int64_t index, A term) const {
    const double scaled = static_cast<double>(term) * scale->scale;
    if (scaled > -4.7e18 && scaled < 4.7e18) {  // false for NaN
      atomicAdd(wholes + index, static_cast<unsigned long long>(static_cast<long long>(rint(scaled))));
    } else {
      atomicAdd(sums + index, term);
    }
  }

  template <int kCount>
  __device__ __forceinline__ void add_pack(int64_t index, const Pack<A, kCount>& terms) const {
    for (int i = 0; i < kCount; ++i) add(index + i, terms.at[i]);
  }
};

// Channels of a lane that adds to sums of this form, at most kPack. Exact sums take one number at a time anyway, and
// then neighbouring lanes add to neighbouring numbers.
template <typename Sums, int kPack>
constexpr int kPackFor = Sums::kTakesPacks ? kPack : 1;

constexpr int kSumThreads = 256;

// Largest finite magnitude of `count` elements, into `scale->largest`, which is 0 at first.
template <typename T>
__global__ void __launch_bounds__(kSumThreads) find_largest(const T* values, int64_t count, ExactScale* scale) {
  double largest = 0;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kSumThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kSumThreads + threadIdx.x; i < count; i += step) {
    const double magnitude = fabs(static_cast<double>(to_sum(values[i])));
    if (magnitude > largest && magnitude < 1.7e308) largest = magnitude;
  }
  for (int bits = 16; bits > 0; bits /= 2) largest = fmax(largest, __shfl_xor_sync(0xffffffffu, largest, bits));
  if (threadIdx.x % 32 == 0) {
    unsigned long long word;  // of numbers that are not negative the order of their bits is theirs
    memcpy(&word, &largest, sizeof(word));
    atomicMax(&scale->largest, word);
  }
}

// The scale for sums of at most `terms` products of a value and a factor of at most `factor`, or the largest of
// `factors` where there are some.
static __global__ void choose_scale(ExactScale* scale, const ExactScale* factors, double factor, double terms) {
  double largest, other = factor;
  memcpy(&largest, &scale->largest, sizeof(largest));
  if (factors != nullptr) memcpy(&other, &factors->largest, sizeof(other));
  const double bound = largest * other * terms;
  // Beyond the range of powers of two there is nothing left to scale.
  scale->scale = bound > 0 && bound < 1e300 ? exp2(fmin(62 - ceil(log2(bound)), 1000.0)) : 1.0;
}

template <typename A>
__global__ void __launch_bounds__(kSumThreads) add_exact(
    A* sums, const unsigned long long* wholes, const ExactScale* scale, int64_t count) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kSumThreads + threadIdx.x;
  if (i < count) sums[i] += static_cast<A>(static_cast<double>(static_cast<long long>(wholes[i])) / scale->scale);
}

template <typename T>
inline void launch_find_largest(const T* values, int64_t count, ExactScale* scale, void* stream) {
  if (count == 0) return;
  const unsigned blocks = count < 1024 * kSumThreads ? blocks_for(count, kSumThreads) : 1024;
  launch("find_largest", find_largest<T>, blocks, kSumThreads, 0, stream, values, count, scale);
}

// Calls scatter(sums) with the form of sums that is asked for, and finishes them. find_scale(scale) has to launch what
// finds the scale; `scale` points to two ExactScale of zeros.
template <typename A, typename FindScale, typename Scatter>
inline void with_sums(
    const Machine& machine, A* sums, int64_t count, const FindScale& find_scale, const Scatter& scatter) {
  if (!machine.deterministic) return scatter(PlainSum<A>{sums});
  ExactScale* scale = static_cast<ExactScale*>(machine.scratch);
  unsigned long long* wholes = reinterpret_cast<unsigned long long*>(scale + 2);
  find_scale(scale);
  scatter(ExactSum<A>{sums, wholes, scale});
  if (count > 0) {
    launch(
        "add_exact", add_exact<A>, blocks_for(count, kSumThreads), kSumThreads, 0, machine.stream, sums,
        static_cast<const unsigned long long*>(wholes), static_cast<const ExactScale*>(scale), count);
  }
}

// The scale of sums of at most `terms` products of one of `values` and a factor of at most `factor`.
template <typename T>
inline void find_scale(
    ExactScale* scale, const T* values, int64_t count, double factor, double terms, void* stream) {
  launch_find_largest(values, count, scale, stream);
  launch("choose_scale", choose_scale, 1, 1, 0, stream, scale, static_cast<const ExactScale*>(nullptr), factor, terms);
}

// The same where the factor is at most the largest of `factors`.
template <typename T, typename F>
inline void find_scale(
    ExactScale* scale, const T* values, int64_t count, const F* factors, int64_t factors_count, double terms,
    void* stream) {
  launch_find_largest(values, count, scale, stream);
  launch_find_largest(factors, factors_count, scale + 1, stream);
  launch(
      "choose_scale", choose_scale, 1, 1, 0, stream, scale, static_cast<const ExactScale*>(scale + 1), 1.0, terms);
}

}  // namespace stn_det::cuda
