// Soft non-maximum suppression of axis-aligned boxes on the CPU; compiled once per instruction set.
//
// A visit passes once over the boxes that remain: it lowers their scores by their overlap with the visited box and
// finds the best score for the next visit on the way. Boxes that are gone have the score -inf; when half of them are,
// the others move together, in order, so that ties still go to the lower index.
#include <algorithm>
#include <cmath>
#include <limits>

#include "buffer.h"
#include "lanes.h"
#include "../entry/nms.h"

namespace stn_det::STN_DET_ISA {
namespace {

// The boxes that remain, one column a number, padded with boxes that are gone.
template <typename A>
struct Remaining {
  static constexpr A kGone = -std::numeric_limits<A>::infinity();
  int64_t count, alive;
  Buffer<A> x1, y1, x2, y2, area, score;
  Buffer<int64_t> index;

  explicit Remaining(const SoftNmsArgs& args)
      : count(0), alive(0), x1(room(args.count)), y1(room(args.count)), x2(room(args.count)), y2(room(args.count)),
        area(room(args.count)), score(room(args.count)), index(room(args.count)) {
    const A* boxes = static_cast<const A*>(args.boxes);
    const A* scores = static_cast<const A*>(args.scores);
    const A offset = static_cast<A>(args.offset), least = static_cast<A>(args.min_score);
    const A limit = std::sqrt(std::numeric_limits<A>::max()) / 16;
    for (int64_t i = 0; i < args.count; ++i) {
      const A* box = boxes + 4 * i;
      bool proper = scores[i] >= least && scores[i] > kGone;  // false for NaN
      for (int k = 0; k < 4; ++k) proper &= std::abs(box[k]) < limit;
      if (!proper) continue;
      x1[count] = box[0];
      y1[count] = box[1];
      x2[count] = box[2];
      y2[count] = box[3];
      area[count] = (box[2] - box[0] + offset) * (box[3] - box[1] + offset);
      score[count] = scores[i];
      index[count++] = i;
    }
    alive = count;
    pad();
  }

  static int64_t room(int64_t count) { return (count + kLanes<A> - 1) / kLanes<A> * kLanes<A>; }

  void pad() {
    for (int64_t i = count; i < room(count); ++i) score[i] = kGone;
  }

  void move_together() {
    int64_t kept = 0;
    for (int64_t i = 0; i < count; ++i) {
      if (score[i] == kGone) continue;
      x1[kept] = x1[i];
      y1[kept] = y1[i];
      x2[kept] = x2[i];
      y2[kept] = y2[i];
      area[kept] = area[i];
      score[kept] = score[i];
      index[kept++] = index[i];
    }
    count = kept;
    pad();
  }
};

// The best score so far in each lane, and where.
template <typename A>
struct Best {
  Vec<A> score = splat<Vec<A>>(Remaining<A>::kGone);
  MaskOf<Vec<A>> block = {};

  inline void see(Vec<A> scores, int64_t number) {
    const MaskOf<Vec<A>> more = scores > score;
    const MaskOf<Vec<A>> here = MaskOf<Vec<A>>{} + static_cast<ScalarOf<MaskOf<Vec<A>>>>(number);
    score = more ? scores : score;
    block = more ? here : block;
  }

  // Lowest place of the best score; call it only when one is above -inf.
  int64_t place() const {
    int64_t best = -1;
    A value = Remaining<A>::kGone;
    for (int64_t lane = 0; lane < kLanes<A>; ++lane) {
      const int64_t at = static_cast<int64_t>(block[lane]) * kLanes<A> + lane;
      if (score[lane] > value || (score[lane] == value && best >= 0 && at < best)) {
        best = at;
        value = score[lane];
      }
    }
    return best;
  }
};

template <SoftMethod kMethod, typename A>
inline Vec<A> factor(Vec<A> overlap, A threshold, A sigma) {
  const Vec<A> one = splat<Vec<A>>(1);
  if constexpr (kMethod == SoftMethod::kGaussian) {
    Vec<A> out = one;
    uint32_t bits = bits_of<Vec<A>>(overlap != splat<Vec<A>>(0));
    for (; bits != 0; bits &= bits - 1) {
      const int lane = __builtin_ctz(bits);
      out[lane] = std::exp(-(overlap[lane] * overlap[lane]) / sigma);
    }
    return out;
  } else {
    const Vec<A> less = kMethod == SoftMethod::kNaive ? splat<Vec<A>>(0) : one - overlap;
    return choose(overlap >= splat<Vec<A>>(threshold), less, one);
  }
}

// Takes the box at `best` out and lowers the others.
template <SoftMethod kMethod, typename A>
Best<A> visit(const SoftNmsArgs& args, Remaining<A>& boxes, int64_t best) {
  using V = Vec<A>;
  const V zero = splat<V>(0), one = splat<V>(1), gone = splat<V>(Remaining<A>::kGone);
  const V x1 = V{} + boxes.x1[best], y1 = V{} + boxes.y1[best], x2 = V{} + boxes.x2[best], y2 = V{} + boxes.y2[best];
  const V area = V{} + boxes.area[best], offset = splat<V>(args.offset), least = splat<V>(args.min_score);
  const A threshold = static_cast<A>(args.threshold), sigma = static_cast<A>(args.sigma);
  boxes.score[best] = Remaining<A>::kGone;
  boxes.alive = 0;
  Best<A> next;
  for (int64_t i = 0; i < boxes.count; i += kLanes<A>) {
    const V old = load<A>(boxes.score.data() + i);
    const V width = lesser(x2, load<A>(boxes.x2.data() + i)) - greater(x1, load<A>(boxes.x1.data() + i)) + offset;
    const V height = lesser(y2, load<A>(boxes.y2.data() + i)) - greater(y1, load<A>(boxes.y1.data() + i)) + offset;
    const V shared = greater(width, zero) * greater(height, zero);
    const V whole = area + load<A>(boxes.area.data() + i) - shared;
    const V overlap = choose(whole > zero, shared / choose(whole > zero, whole, one), zero);
    const V lowered = old * factor<kMethod, A>(overlap, threshold, sigma);
    const V score = choose((old > gone) & (lowered >= least), lowered, gone);  // -inf times 0 is NaN
    store<A>(boxes.score.data() + i, score);
    boxes.alive += __builtin_popcount(bits_of<V>(score > gone));
    next.see(score, i / kLanes<A>);
  }
  return next;
}

template <SoftMethod kMethod, typename A>
int64_t run(const SoftNmsArgs& args) {
  Remaining<A> boxes(args);
  Best<A> best;
  for (int64_t i = 0; i < boxes.count; i += kLanes<A>) best.see(load<A>(boxes.score.data() + i), i / kLanes<A>);
  int64_t visits = 0;
  A* lowered = static_cast<A*>(args.lowered);
  while (boxes.alive > 0) {
    const int64_t at = best.place();
    args.visits[visits] = boxes.index[at];
    lowered[visits++] = boxes.score[at];
    best = visit<kMethod, A>(args, boxes, at);
    if (2 * boxes.alive < boxes.count && boxes.count > 4 * kLanes<A>) {
      boxes.move_together();
      best = Best<A>();
      for (int64_t i = 0; i < boxes.count; i += kLanes<A>) best.see(load<A>(boxes.score.data() + i), i / kLanes<A>);
    }
  }
  return visits;
}

template <typename A>
int64_t run_method(const SoftNmsArgs& args) {
  switch (args.method) {
    case SoftMethod::kNaive: return run<SoftMethod::kNaive, A>(args);
    case SoftMethod::kLinear: return run<SoftMethod::kLinear, A>(args);
    case SoftMethod::kGaussian: return run<SoftMethod::kGaussian, A>(args);
  }
  return 0;
}

}  // namespace

void soft_nms(const SoftNmsArgs& args) {
  const int64_t visited = args.element == Element::kFloat64 ? run_method<double>(args) : run_method<float>(args);
  std::fill(args.visits + visited, args.visits + args.count, int64_t{-1});
}

}  // namespace stn_det::STN_DET_ISA
