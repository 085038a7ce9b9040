// Sigmoid focal loss and its derivative in one pass on the CPU; compiled once per instruction set.
//
// With z the logit of being wrong (-x for the class of the row, x for all others), p = sigmoid(z) and s = softplus(z):
//   loss = share * p^gamma * s,   d loss / dz = share * p^gamma * (gamma * (1 - p) * s + p).
// All of it comes from e = exp(-|z|), which cannot overflow: p is 1 / (1 + e) or e / (1 + e), s = max(z, 0) + log1p(e).
//
// In float32 s is right to 2 units of the last place, and the loss to 5 for gamma = 2. For gamma other than 0, 1 and 2,
// p^gamma is exp(gamma * log(p)), whose relative error grows with |gamma * log(p)|: 50 units for losses below 1e-20.
#include "../entry/sigmoid_focal_loss.h"

#include <algorithm>
#include <limits>

#include "simd_math.h"

namespace stn_det::STN_DET_ISA {
namespace {

template <typename A>
struct Term {
  Vec<A> loss, slope;
};

template <typename A>
inline Term<A> focal_term(Vec<A> x, Vec<A> flip, Vec<A> share, A gamma) {
  const Vec<A> zero = {}, one = zero + 1;
  const Vec<A> z = x * flip;
  const Vec<A> e = exp_of_negative<A>(z < 0 ? z : -z);
  const Vec<A> log_term = log1p_of_fraction<A>(e);
  const Vec<A> larger = one / (one + e), smaller = e * larger;
  const Vec<A> p = z < 0 ? smaller : larger, rest = z < 0 ? larger : smaller;
  const Vec<A> softplus = (z < 0 ? zero : z) + log_term;
  Vec<A> focus;
  if (gamma == 2) {
    focus = p * p;
  } else if (gamma == 0) {
    focus = one;
  } else if (gamma == 1) {
    focus = p;
  } else {
    focus = exp_of_negative<A>(((z < 0 ? z : zero) - log_term) * gamma);  // log p is never positive
  }
  // An infinite loss has a finite slope: there `rest` is 0, which times infinity would be NaN.
  const Vec<A> most = zero + std::numeric_limits<A>::max();
  const Vec<A> bounded = softplus > most ? most : softplus;
  const Vec<A> weighted = share * focus;
  return {weighted * softplus, weighted * flip * (gamma * rest * bounded + p)};
}

// What is known of each term before its logit: its factor, and -1 where the column is the class of the row, else 1.
template <typename A>
struct Chunk {
  A share[kFocalChunk], flip[kFocalChunk];

  void fill(const FocalArgs& args, int64_t begin, int64_t end) {
    const A* weight = static_cast<const A*>(args.weight);
    const A positive = static_cast<A>(args.alpha), negative = static_cast<A>(1 - args.alpha);
    for (int64_t row = begin / args.classes; row * args.classes < end; ++row) {
      const int64_t from = std::max(begin, row * args.classes), to = std::min(end, (row + 1) * args.classes);
      const int64_t label = args.target[row];
      const bool known = label >= 0 && label < args.classes;
      const A factor = known && weight != nullptr ? weight[label] : A(1);
      std::fill(share + (from - begin), share + (to - begin), negative * factor);
      std::fill(flip + (from - begin), flip + (to - begin), A(1));
      const int64_t at = known ? row * args.classes + label : -1;
      if (at < from || at >= to) continue;
      share[at - begin] = positive * factor;
      flip[at - begin] = -1;
    }
  }
};

template <typename T, typename A>
void visit_chunk(const FocalArgs& args, int64_t index, Chunk<A>& chunk) {
  const int64_t begin = index * kFocalChunk, end = std::min(begin + kFocalChunk, args.rows * args.classes);
  const T* input = static_cast<const T*>(args.input) + begin;
  A* loss = static_cast<A*>(args.loss) + (args.loss != nullptr ? begin : 0);
  A* slope = static_cast<A*>(args.slope) + (args.slope != nullptr ? begin : 0);
  const A gamma = static_cast<A>(args.gamma);
  chunk.fill(args, begin, end);
  Vec<A> total = {};
  int64_t done = 0;
  for (; done + kLanes<A> <= end - begin; done += kLanes<A>) {
    const Term<A> term =
        focal_term<A>(load<A>(input + done), load<A>(chunk.flip + done), load<A>(chunk.share + done), gamma);
    total += term.loss;
    if (args.loss != nullptr) store<A>(loss + done, term.loss);
    if (args.slope != nullptr) store<A>(slope + done, term.slope);
  }
  const int64_t left = end - begin - done;
  if (left > 0) {
    Vec<A> x = {}, flip = {}, share = {};  // a share of 0 makes a term of 0
    for (int64_t i = 0; i < left; ++i) {
      x[i] = widen<A>(input[done + i]);
      flip[i] = chunk.flip[done + i];
      share[i] = chunk.share[done + i];
    }
    const Term<A> term = focal_term<A>(x, flip, share, gamma);
    total += term.loss;
    for (int64_t i = 0; i < left; ++i) {
      if (args.loss != nullptr) loss[done + i] = term.loss[i];
      if (args.slope != nullptr) slope[done + i] = term.slope[i];
    }
  }
  if (args.partial_sums != nullptr) args.partial_sums[index] = sum<A>(total);
}

template <typename T, typename A>
void visit(const FocalArgs& args) {
  const int64_t chunks = (args.rows * args.classes + kFocalChunk - 1) / kFocalChunk;
  for_ranges(args.parallel_for, 0, chunks, 8, [&](int64_t begin, int64_t end) {
    Chunk<A> chunk;
    for (int64_t index = begin; index < end; ++index) visit_chunk<T, A>(args, index, chunk);
  });
}

}  // namespace

void sigmoid_focal_loss(const FocalArgs& args) {
  switch (args.element) {
    case Element::kFloat64: return visit<double, double>(args);
    case Element::kFloat32: return visit<float, float>(args);
    case Element::kFloat16: return visit<Float16, float>(args);
    case Element::kBFloat16: return visit<BFloat16, float>(args);
  }
}

}  // namespace stn_det::STN_DET_ISA
