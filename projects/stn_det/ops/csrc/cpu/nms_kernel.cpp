// Greedy non-maximum suppression on the CPU; compiled once per instruction set.
//
// Boxes are visited by falling score. A box that nothing has claimed is kept and claims all undecided boxes of its
// label whose overlap with it exceeds the threshold. To find them, the boxes of a label are laid along a space-filling
// curve and cut into blocks: a visit tests the bounds of the blocks, then those of the boxes in the few blocks that
// remain, then the exact overlap of the boxes that could exceed the threshold at all. A decided box leaves its block.
//
// A visit takes about a microsecond. Rounds of visits on several threads were tried and gained nothing over one thread:
// what a round claims among itself is visited in vain, and the threads meet too often.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../entry/nms.h"
#include "shapes.h"

namespace stn_det::STN_DET_ISA {
namespace {

constexpr int64_t kBlock = 32;  // boxes a block; a whole number of vectors

// Where a box lies: sorted by label, then along the curve.
struct Place {
  int64_t label;
  uint32_t curve;
  int64_t box;
  bool operator<(const Place& other) const {
    if (label != other.label) return label < other.label;
    return curve != other.curve ? curve < other.curve : box < other.box;
  }
};

// Position on the Z curve of 16 bits a coordinate.
inline uint32_t z_curve(uint32_t x, uint32_t y) {
  uint32_t out = 0;
  for (int bit = 0; bit < 16; ++bit) out |= ((x >> bit & 1) << (2 * bit)) | ((y >> bit & 1) << (2 * bit + 1));
  return out;
}

// Coordinate in 16 bits of the range [low, low + extent]; all numbers are finite.
template <typename A>
inline uint32_t in_16_bits(A value, A low, A extent) {
  const A part = extent > 0 ? (value - low) / extent : 0;
  return part > 0 ? static_cast<uint32_t>(std::min(part, A(1)) * 65535) : 0;
}

// Slots of all boxes, label by label, each label's filled up to whole blocks. A slot that is empty or whose box has
// been decided lies beyond everything.
template <typename Overlap, typename A>
class Blocks {
 public:
  using Shape = typename Overlap::First;
  static constexpr A kBeyond = std::numeric_limits<A>::infinity();

  explicit Blocks(const NmsArgs& args)
      : threshold_(static_cast<A>(args.threshold)), ready_(Shape::kReady, args.count), bounds_(4, args.count),
        slot_of_(args.count), area_(args.count) {
    prepare_all<Shape>(static_cast<const A*>(args.boxes), args.count, ready_, bounds_);
    const std::vector<Place> places = places_of(args);
    int64_t slots = 0;
    for (size_t i = 0; i < places.size(); ++i) {
      if (i == 0 || places[i].label != places[i - 1].label) slots = (slots + kBlock - 1) / kBlock * kBlock;
      slot_of_[places[i].box] = slots++;
    }
    slots_ = (slots + kBlock - 1) / kBlock * kBlock;
    sides_ = Sides(slots_);
    box_at_ = std::vector<BoxIndex>(slots_, BoxIndex{-1});
    blocks_ = Sides((slots_ / kBlock + kLanes<A> - 1) / kLanes<A> * kLanes<A>);
    spans_ = std::vector<Span>(args.count);
    fill(places);
  }

  // Whether a box takes part: all its numbers are usable.
  bool takes_part(int64_t box) const { return slot_of_[box] >= 0; }

  // The box is decided and is not found any more.
  void remove(int64_t box) { sides_.clear(slot_of_[box]); }

  // Appends the boxes that are undecided, of the same label, and overlap `box` by more than the threshold.
  template <typename Found>
  void visit(int64_t box, Found& found) const {
    const Vec<A> own[4] = {
        Vec<A>{} + bounds_.column(0)[box], Vec<A>{} + bounds_.column(1)[box], Vec<A>{} + bounds_.column(2)[box],
        Vec<A>{} + bounds_.column(3)[box]};
    const A own_area = area_[box];
    Vec<A> first[Shape::kReady];
    broadcast<Shape::kReady>(ready_, box, first);
    int64_t waiting[2 * kLanes<A>], count = 0;
    for (int64_t begin = spans_[box].first / kLanes<A> * kLanes<A>; begin < spans_[box].last; begin += kLanes<A>) {
      uint32_t bits = meet(own, blocks_, begin);
      for (; bits != 0; bits &= bits - 1) {
        const int64_t block = begin + __builtin_ctz(bits);
        if (block < spans_[box].first || block >= spans_[box].last) continue;
        for (int64_t slot = block * kBlock; slot < (block + 1) * kBlock; slot += kLanes<A>) {
          uint32_t likely = may_exceed(own, own_area, slot);
          for (; likely != 0; likely &= likely - 1) {
            const int64_t at = slot + __builtin_ctz(likely);
            waiting[count++] = box_at_[at].value;
          }
          if (count >= kLanes<A>) {
            test(first, waiting, kLanes<A>, found);
            count -= kLanes<A>;
            for (int64_t i = 0; i < count; ++i) waiting[i] = waiting[i + kLanes<A>];
          }
        }
      }
    }
    if (count > 0) test(first, waiting, count, found);
  }

 private:
  struct BoxIndex {
    int64_t value;
  };
  struct Span {
    int64_t first, last;  // blocks of a label
  };
  struct Value {
    A value;
  };

  // Bounds and areas, one slot or block after the other.
  struct Sides {
    std::vector<Value> values[5];
    A *low_x, *low_y, *high_x, *high_y, *area;

    explicit Sides(int64_t count = 0) {
      for (auto& column : values) column.resize(count);
      A** columns[5] = {&low_x, &low_y, &high_x, &high_y, &area};
      for (int k = 0; k < 5; ++k) *columns[k] = count == 0 ? nullptr : &values[k][0].value;
      for (int64_t i = 0; i < count; ++i) clear(i);
    }

    void clear(int64_t i) {
      low_x[i] = low_y[i] = kBeyond;
      high_x[i] = high_y[i] = -kBeyond;
      area[i] = 0;
    }
  };

  std::vector<Place> places_of(const NmsArgs& args) {
    A low[2] = {kBeyond, kBeyond}, high[2] = {-kBeyond, -kBeyond};
    std::vector<Place> places;
    places.reserve(args.count);
    for (int64_t box = 0; box < args.count; ++box) {
      const A* raw = static_cast<const A*>(args.boxes) + box * Shape::kRaw;
      bool proper = true;
      for (int k = 0; k < Shape::kRaw; ++k) proper &= std::abs(raw[k]) < usable_limit<A>();
      slot_of_[box] = -1;
      if (!proper) continue;
      places.push_back({args.labels[box], 0, box});
      for (int axis = 0; axis < 2; ++axis) {
        low[axis] = std::min(low[axis], centre(box, axis));
        high[axis] = std::max(high[axis], centre(box, axis));
      }
    }
    for (Place& place : places) {
      place.curve = z_curve(
          in_16_bits(centre(place.box, 0), low[0], high[0] - low[0]),
          in_16_bits(centre(place.box, 1), low[1], high[1] - low[1]));
    }
    std::sort(places.begin(), places.end());
    return places;
  }

  A centre(int64_t box, int axis) const {
    return A(0.5) * (bounds_.column(axis)[box] + bounds_.column(2 + axis)[box]);
  }

  void fill(const std::vector<Place>& places) {
    for (int64_t begin = 0; begin < ready_.padded(); begin += kLanes<A>) {
      Vec<A> ready[Shape::kReady];
      for (int k = 0; k < Shape::kReady; ++k) ready[k] = load<A>(ready_.column(k) + begin);
      const Vec<A> area = Shape::area(ready);
      for (int64_t lane = 0; lane < kLanes<A>; ++lane) {
        const int64_t box = begin + lane;
        if (box >= static_cast<int64_t>(spans_.size()) || slot_of_[box] < 0) continue;
        const int64_t slot = slot_of_[box], block = slot / kBlock;
        box_at_[slot].value = box;
        sides_.area[slot] = area_[box] = area[lane];
        sides_.low_x[slot] = bounds_.column(0)[box];
        sides_.low_y[slot] = bounds_.column(1)[box];
        sides_.high_x[slot] = bounds_.column(2)[box];
        sides_.high_y[slot] = bounds_.column(3)[box];
        blocks_.low_x[block] = std::min(blocks_.low_x[block], sides_.low_x[slot]);
        blocks_.low_y[block] = std::min(blocks_.low_y[block], sides_.low_y[slot]);
        blocks_.high_x[block] = std::max(blocks_.high_x[block], sides_.high_x[slot]);
        blocks_.high_y[block] = std::max(blocks_.high_y[block], sides_.high_y[slot]);
      }
    }
    for (size_t begin = 0, end = 0; begin < places.size(); begin = end) {
      while (end < places.size() && places[end].label == places[begin].label) ++end;
      const Span span{slot_of_[places[begin].box] / kBlock, slot_of_[places[end - 1].box] / kBlock + 1};
      for (size_t i = begin; i < end; ++i) spans_[places[i].box] = span;
    }
  }

  static uint32_t meet(const Vec<A>* own, const Sides& sides, int64_t at) {
    return bits_of<Vec<A>>(
        (own[0] <= load<A>(sides.high_x + at)) & (load<A>(sides.low_x + at) <= own[2]) &
        (own[1] <= load<A>(sides.high_y + at)) & (load<A>(sides.low_y + at) <= own[3]));
  }

  // The intersection lies within both bounds and within both shapes. The slack keeps rounding from turning this into a
  // rejection of a pair that exceeds the threshold by little.
  uint32_t may_exceed(const Vec<A>* own, A own_area, int64_t slot) const {
    const Vec<A> zero = splat<Vec<A>>(0), area = load<A>(sides_.area + slot);
    const Vec<A> width = lesser(own[2], load<A>(sides_.high_x + slot)) - greater(own[0], load<A>(sides_.low_x + slot));
    const Vec<A> height = lesser(own[3], load<A>(sides_.high_y + slot)) - greater(own[1], load<A>(sides_.low_y + slot));
    const Vec<A> least = lesser(Vec<A>{} + own_area, area);
    const Vec<A> shared = lesser(greater(width, zero) * greater(height, zero), least) * splat<Vec<A>>(1 + 1e-5);
    return bits_of<Vec<A>>(
        (shared > zero) & (shared * splat<Vec<A>>(1 + threshold_) >= (area + own_area) * splat<Vec<A>>(threshold_)));
  }

  template <typename Found>
  void test(const Vec<A>* first, const int64_t* boxes, int64_t count, Found& found) const {
    Vec<A> second[Shape::kReady], value;
    gather<Shape::kReady>(ready_, boxes, count, second);
    Overlap::overlap(first, second, false, &value);
    uint32_t bits = bits_of<Vec<A>>(value > splat<Vec<A>>(threshold_)) & ((1u << count) - 1);
    for (; bits != 0; bits &= bits - 1) found.push_back({boxes[__builtin_ctz(bits)]});
  }

  const A threshold_;
  Columns<A> ready_, bounds_;
  Buffer<int64_t> slot_of_;  // of each box; -1: takes no part
  Buffer<A> area_;           // of each box that takes part
  int64_t slots_ = 0;
  Sides sides_, blocks_;
  std::vector<BoxIndex> box_at_;
  std::vector<Span> spans_;  // of each box
};

struct Hit {
  int64_t box;
};

template <typename Overlap, typename A>
void suppress(const NmsArgs& args) {
  Blocks<Overlap, A> blocks(args);
  for (int64_t box = 0; box < args.count; ++box) args.owner[box] = -1;
  std::vector<Hit> hits;
  for (int64_t at = 0; at < args.count; ++at) {
    const int64_t box = args.order[at];
    if (args.owner[box] >= 0 || !blocks.takes_part(box)) continue;
    args.owner[box] = box;
    blocks.remove(box);
    hits.clear();
    blocks.visit(box, hits);
    for (const Hit& hit : hits) {
      args.owner[hit.box] = box;
      blocks.remove(hit.box);
    }
  }
}

template <typename A>
void run(const NmsArgs& args) {
  switch (args.kind) {
    case NmsKind::kHBox: return suppress<HBoxOverlap<Vec<A>>, A>(args);
    case NmsKind::kRotated: return suppress<RotatedOverlap<Vec<A>>, A>(args);
    case NmsKind::kHull: return suppress<HullOverlap<Vec<A>>, A>(args);
  }
}

}  // namespace

void nms(const NmsArgs& args) { args.element == Element::kFloat64 ? run<double>(args) : run<float>(args); }

}  // namespace stn_det::STN_DET_ISA
