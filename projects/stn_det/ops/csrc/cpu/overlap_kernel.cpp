// Overlap of shapes on the CPU, all pairs or row by row; compiled once per instruction set.
//
// Matrix: one row at a time. A sweep over the bounds of the second shapes finds those that may meet the first one, then
// their overlaps are computed a vector of pairs at a time; all other entries are 0.
//
// Backward of the matrix: one task for each of a number of groups of rows that does not depend on the number of
// threads. A task has gradients of its own for the second shapes; they are added up in the order of the groups at the
// end.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "../entry/overlap.h"
#include "shapes.h"

namespace stn_det::STN_DET_ISA {
namespace {

constexpr int64_t kRowGroups = 16;
constexpr int64_t kBlocksPerTask = 256;  // of pairs; some 50 us, below which threads cost more than they give

// The shapes of both sides and their bounds.
template <typename Pair, typename A>
struct Sides {
  using First = typename Pair::First;
  using Second = typename Pair::Second;
  Columns<A> first, second, first_bounds, second_bounds;

  explicit Sides(const OverlapArgs& args)
      : first(First::kReady, args.rows), second(Second::kReady, args.columns), first_bounds(4, args.rows),
        second_bounds(4, args.columns) {
    prepare_all<First>(static_cast<const A*>(args.first), args.rows, first, first_bounds);
    prepare_all<Second>(static_cast<const A*>(args.second), args.columns, second, second_bounds);
  }

  // Writes the indices of the second shapes whose bounds meet those of a first one; `found` has room for all, and a
  // vector more. With `grad` only those with a gradient.
  int64_t meeting(int64_t row, int64_t columns, const A* grad, int64_t* found) const {
    Vec<A> own[4];
    broadcast<4>(first_bounds, row, own);
    int64_t count = 0;
    for (int64_t begin = 0; begin < columns; begin += kLanes<A>) {
      const Vec<A> low_x = load<A>(second_bounds.column(0) + begin), low_y = load<A>(second_bounds.column(1) + begin);
      const Vec<A> high_x = load<A>(second_bounds.column(2) + begin), high_y = load<A>(second_bounds.column(3) + begin);
      uint32_t bits =
          bits_of<Vec<A>>((own[0] <= high_x) & (low_x <= own[2]) & (own[1] <= high_y) & (low_y <= own[3]));
      if (columns - begin < kLanes<A>) bits &= (1u << (columns - begin)) - 1;
      for (; bits != 0; bits &= bits - 1) {
        const int64_t column = begin + __builtin_ctz(bits);
        found[count] = column;
        count += grad == nullptr || grad[column] != 0;
      }
    }
    return count;
  }
};

template <typename Pair, typename A>
void matrix_forward(const OverlapArgs& args) {
  using Second = typename Pair::Second;
  const Sides<Pair, A> sides(args);
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, args.columns));
  for_ranges(args.parallel_for, 0, args.rows, grain, [&](int64_t first_row, int64_t last_row) {
    Buffer<int64_t> found(args.columns + kLanes<A>);
    for (int64_t row = first_row; row < last_row; ++row) {
      A* output = static_cast<A*>(args.output) + row * args.columns;
      std::memset(output, 0, args.columns * sizeof(A));
      const int64_t count = sides.meeting(row, args.columns, nullptr, found.data());
      if (count == 0) continue;
      Vec<A> first[Pair::First::kReady], second[Second::kReady], value;
      broadcast<Pair::First::kReady>(sides.first, row, first);
      for (int64_t begin = 0; begin < count; begin += kLanes<A>) {
        const int64_t lanes = std::min(kLanes<A>, count - begin);
        gather<Second::kReady>(sides.second, found.data() + begin, lanes, second);
        Pair::overlap(first, second, args.iof, &value);
        for (int64_t lane = 0; lane < lanes; ++lane) output[found[begin + lane]] = value[lane];
      }
    }
  });
}

// Rows of a group, in order; grad_second is the group's own.
template <typename Pair, typename A>
void backward_rows(
    const OverlapArgs& args, const Sides<Pair, A>& sides, int64_t first_row, int64_t last_row, A* grad_second) {
  using First = typename Pair::First;
  using Second = typename Pair::Second;
  Buffer<int64_t> found(args.columns + kLanes<A>);
  for (int64_t row = first_row; row < last_row; ++row) {
    const A* grad_output = static_cast<const A*>(args.grad_output) + row * args.columns;
    A* grad_first = static_cast<A*>(args.grad_first) + row * First::kRaw;
    const int64_t count = sides.meeting(row, args.columns, grad_output, found.data());
    Vec<A> first[First::kReady], second[Second::kReady], grad1[First::kRaw], grad2[Second::kRaw];
    Vec<A> total[First::kRaw] = {};
    broadcast<First::kReady>(sides.first, row, first);
    for (int64_t begin = 0; begin < count; begin += kLanes<A>) {
      const int64_t lanes = std::min(kLanes<A>, count - begin);
      gather<Second::kReady>(sides.second, found.data() + begin, lanes, second);
      Vec<A> grad = {};
      for (int64_t lane = 0; lane < lanes; ++lane) grad[lane] = grad_output[found[begin + lane]];
      Pair::backward(first, second, args.iof, &grad, grad1, grad2);
      for (int k = 0; k < First::kRaw; ++k) total[k] += grad1[k];
      for (int64_t lane = 0; lane < lanes; ++lane) {
        A* to = grad_second + found[begin + lane] * Second::kRaw;
        for (int k = 0; k < Second::kRaw; ++k) to[k] += grad2[k][lane];
      }
    }
    for (int k = 0; k < First::kRaw; ++k) grad_first[k] = sum<A>(total[k]);
  }
}

template <typename Pair, typename A>
void matrix_backward(const OverlapArgs& args) {
  const Sides<Pair, A> sides(args);
  const int64_t groups = std::min(kRowGroups, args.rows), size = args.columns * Pair::Second::kRaw;
  Buffer<A> partial(groups * size);
  for_ranges(args.parallel_for, 0, groups, 1, [&](int64_t first_group, int64_t last_group) {
    for (int64_t group = first_group; group < last_group; ++group) {
      backward_rows<Pair, A>(
          args, sides, group * args.rows / groups, (group + 1) * args.rows / groups, partial.data() + group * size);
    }
  });
  A* grad_second = static_cast<A*>(args.grad_second);
  std::memset(grad_second, 0, size * sizeof(A));
  for (int64_t group = 0; group < groups; ++group) {
    for (int64_t i = 0; i < size; ++i) grad_second[i] += partial[group * size + i];
  }
}

// Row k with row k, a vector of rows at a time.
template <typename Pair, typename A, bool kBackward>
void aligned(const OverlapArgs& args) {
  using First = typename Pair::First;
  using Second = typename Pair::Second;
  const int64_t blocks = (args.rows + kLanes<A> - 1) / kLanes<A>;
  for_ranges(args.parallel_for, 0, blocks, kBlocksPerTask, [&](int64_t first_block, int64_t last_block) {
    for (int64_t block = first_block; block < last_block; ++block) {
      const int64_t begin = block * kLanes<A>, lanes = std::min(kLanes<A>, args.rows - begin);
      Vec<A> raw1[First::kRaw], raw2[Second::kRaw], first[First::kReady], second[Second::kReady];
      load_rows<First::kRaw>(static_cast<const A*>(args.first) + begin * First::kRaw, lanes, raw1);
      load_rows<Second::kRaw>(static_cast<const A*>(args.second) + begin * Second::kRaw, lanes, raw2);
      First::prepare(raw1, first);
      Second::prepare(raw2, second);
      if constexpr (kBackward) {
        Vec<A> grad = {}, grad1[First::kRaw], grad2[Second::kRaw];
        for (int64_t lane = 0; lane < lanes; ++lane) {
          grad[lane] = static_cast<const A*>(args.grad_output)[begin + lane];
        }
        Pair::backward(first, second, args.iof, &grad, grad1, grad2);
        for (int64_t lane = 0; lane < lanes; ++lane) {
          A* to1 = static_cast<A*>(args.grad_first) + (begin + lane) * First::kRaw;
          A* to2 = static_cast<A*>(args.grad_second) + (begin + lane) * Second::kRaw;
          for (int k = 0; k < First::kRaw; ++k) to1[k] = grad1[k][lane];
          for (int k = 0; k < Second::kRaw; ++k) to2[k] = grad2[k][lane];
        }
      } else {
        Vec<A> value;
        Pair::overlap(first, second, args.iof, &value);
        for (int64_t lane = 0; lane < lanes; ++lane) static_cast<A*>(args.output)[begin + lane] = value[lane];
      }
    }
  });
}

// Shapes that were taken as zeros have no gradient, whatever came back to them.
template <typename Shape, typename A>
void clear_unusable(const void* shapes, void* grads, int64_t count) {
  for (int64_t begin = 0; begin < count; begin += kLanes<A>) {
    const int64_t lanes = std::min(kLanes<A>, count - begin);
    Vec<A> raw[Shape::kRaw], ready[Shape::kReady];
    load_rows<Shape::kRaw>(static_cast<const A*>(shapes) + begin * Shape::kRaw, lanes, raw);
    Shape::prepare(raw, ready);
    for (int64_t lane = 0; lane < lanes; ++lane) {
      bool same = true;
      for (int k = 0; k < Shape::kRaw; ++k) same &= raw[k][lane] == ready[k][lane];
      if (same) continue;
      A* grad = static_cast<A*>(grads) + (begin + lane) * Shape::kRaw;
      for (int k = 0; k < Shape::kRaw; ++k) grad[k] = 0;
    }
  }
}

template <typename Pair, typename A>
void run(const OverlapArgs& args, bool backward) {
  if (!backward) {
    args.aligned ? aligned<Pair, A, false>(args) : matrix_forward<Pair, A>(args);
    return;
  }
  args.aligned ? aligned<Pair, A, true>(args) : matrix_backward<Pair, A>(args);
  clear_unusable<typename Pair::First, A>(args.first, args.grad_first, args.rows);
  clear_unusable<typename Pair::Second, A>(args.second, args.grad_second, args.columns);
}

template <typename A>
void run_kind(const OverlapArgs& args, bool backward) {
  switch (args.kind) {
    case OverlapKind::kRotated: return run<RotatedOverlap<Vec<A>>, A>(args, backward);
    case OverlapKind::kBoxQuad: return run<BoxQuadOverlap<Vec<A>>, A>(args, backward);
    case OverlapKind::kHull: return run<HullOverlap<Vec<A>>, A>(args, backward);
  }
}

void run_element(const OverlapArgs& args, bool backward) {
  args.element == Element::kFloat64 ? run_kind<double>(args, backward) : run_kind<float>(args, backward);
}

}  // namespace

void overlap_forward(const OverlapArgs& args) { run_element(args, false); }
void overlap_backward(const OverlapArgs& args) { run_element(args, true); }

}  // namespace stn_det::STN_DET_ISA
