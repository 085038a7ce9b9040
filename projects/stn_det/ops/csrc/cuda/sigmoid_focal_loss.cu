// Sigmoid focal loss and its derivative in one pass on CUDA. The formulas are those of the CPU's kernel, see there.
#include "../entry/sigmoid_focal_loss.h"

#include <cmath>
#include <limits>

#include "elements.h"

namespace stn_det::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTermsPerThread = static_cast<int>(kFocalChunk) / kThreads;

template <typename A>
struct Term {
  A loss, slope;
};

template <typename A>
__device__ __forceinline__ Term<A> focal_term(A x, A flip, A share, A gamma) {
  const A z = x * flip, e = exp(z < 0 ? z : -z), log_term = log1p(e);
  const A larger = 1 / (1 + e), smaller = e * larger;
  const A p = z < 0 ? smaller : larger, rest = z < 0 ? larger : smaller;
  const A softplus = (z < 0 ? A(0) : z) + log_term;
  A focus;
  if (gamma == 2) {
    focus = p * p;
  } else if (gamma == 0) {
    focus = 1;
  } else if (gamma == 1) {
    focus = p;
  } else {
    focus = exp(((z < 0 ? z : A(0)) - log_term) * gamma);
  }
  const A most = std::numeric_limits<A>::max();
  const A bounded = softplus > most ? most : softplus, weighted = share * focus;
  return {weighted * softplus, weighted * flip * (gamma * rest * bounded + p)};
}

// Sum over a block, in an order that never changes; thread 0 has it.
__device__ __forceinline__ double block_sum(double part) {
  __shared__ double parts[kThreads / 32];
  for (int bits = 16; bits > 0; bits /= 2) part += __shfl_xor_sync(0xffffffffu, part, bits);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = part;
  __syncthreads();
  double sum = 0;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kThreads / 32; ++i) sum += parts[i];
  }
  return sum;
}

// One block a chunk of terms.
template <typename T>
__global__ void __launch_bounds__(kThreads) visit_terms(FocalArgs args) {
  using A = SumOf<T>;
  const T* input = static_cast<const T*>(args.input);
  const A* weight = static_cast<const A*>(args.weight);
  A* loss = static_cast<A*>(args.loss);
  A* slope = static_cast<A*>(args.slope);
  const A gamma = static_cast<A>(args.gamma);
  const int64_t count = args.rows * args.classes;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kFocalChunk + threadIdx.x;
  double total = 0;
  for (int k = 0; k < kTermsPerThread; ++k) {
    const int64_t i = first + k * kThreads;
    if (i >= count) break;
    const int64_t row = i / args.classes, column = i - row * args.classes, label = args.target[row];
    const bool known = label >= 0 && label < args.classes, positive = label == column;
    const A factor = known && weight != nullptr ? weight[label] : A(1);
    const A share = factor * static_cast<A>(positive ? args.alpha : 1 - args.alpha);
    const Term<A> term = focal_term<A>(to_sum(input[i]), positive ? A(-1) : A(1), share, gamma);
    if (loss != nullptr) loss[i] = term.loss;
    if (slope != nullptr) slope[i] = term.slope;
    total += static_cast<double>(term.loss);
  }
  if (args.partial_sums == nullptr) return;
  total = block_sum(total);
  if (threadIdx.x == 0) args.partial_sums[blockIdx.x] = total;
}

template <typename A>
__global__ void __launch_bounds__(kThreads) add_partial_sums(const double* parts, int64_t count, A* total) {
  double part = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) part += parts[i];
  part = block_sum(part);
  if (threadIdx.x == 0) *total = static_cast<A>(part);
}

}  // namespace

void sigmoid_focal_loss(const FocalArgs& args) {
  const unsigned chunks = blocks_for(args.rows * args.classes, kFocalChunk);
  for_element(args.element, [&](auto element) {
    using T = decltype(element);
    using A = SumOf<T>;
    launch("sigmoid_focal_loss", visit_terms<T>, chunks, kThreads, 0, args.stream, args);
    if (args.partial_sums == nullptr) return;
    launch(
        "add_partial_sums", add_partial_sums<A>, 1, kThreads, 0, args.stream,
        static_cast<const double*>(args.partial_sums), static_cast<int64_t>(chunks), static_cast<A*>(args.total));
  });
}

}  // namespace stn_det::cuda
