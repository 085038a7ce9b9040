// Which pixels a bin of a RoI reads, and with what weight.
//
// The sampling points of a bin lie about a pixel apart, so most pixels are read by several of them. Their weights are
// added up before any feature is read: a bin of 4 x 4 points then costs 25 to 40 readings of all channels and not 64.
// Points of an axis-aligned RoI are a product of rows and columns, and so are their merged weights.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "../entry/roi_align.h"
#include "simd.h"

namespace stn_det::STN_DET_ISA {

constexpr int64_t kPointsHeld = 1 << 16;

template <typename A>
using Int = std::conditional_t<sizeof(A) == 4, int32_t, int64_t>;
template <typename A>
using IntVec = Vec<Int<A>>;

// Fractions, counted from the centre, of all points of a RoI along one axis; bin by bin.
template <typename A>
inline void find_fractions(int64_t bins, int64_t grid, A centre, std::vector<A>& out) {
  out.resize(bins * grid);
  for (int64_t bin = 0; bin < bins; ++bin) {
    for (int64_t step = 0; step < grid; ++step) {
      const A along = static_cast<A>(bin) + (static_cast<A>(step) + A(0.5)) / static_cast<A>(grid);
      out[bin * grid + step] = along / static_cast<A>(bins) - centre;
    }
  }
}

// The points of neighbouring bins of one row of bins, located. The four pixels of a point are `pixel`, `pixel + right`,
// `pixel + below` and `pixel + below + right`; at the last column or row, right or below are 0. Points further than one
// pixel outside have pixel -1; nearer ones read the edge and do not feel a move across it.
template <typename A>
class PointGrid {
 public:
  PointGrid(int64_t height, int64_t width, int64_t rows, int64_t columns)
      : height_(height), width_(width), rows_(rows), columns_(columns) {}

  void start(const Frame<A>& frame) {
    frame_ = &frame;
    find_fractions(rows_, frame.grid_y, frame.centre, v);
    find_fractions(columns_, frame.grid_x, frame.centre, u);
    u.resize(u.size() + kLanes<A>, std::numeric_limits<A>::quiet_NaN());  // read, never used
    row_ = -1;
  }

  // Sees to it that the points of a bin are there; returns the index of its first one.
  int64_t find(int64_t row, int64_t column) {
    if (row != row_ || column < first_ || column >= last_) {
      const int64_t at_once = std::max<int64_t>(1, kPointsHeld / (frame_->grid_y * frame_->grid_x));
      row_ = row;
      first_ = column / at_once * at_once;
      last_ = std::min(columns_, first_ + at_once);
      locate();
    }
    return (column - first_) * frame_->grid_x;
  }

  std::vector<A> v, u;                         // (ph * grid_y,) and (pw * grid_x,), fractions from the centre
  int64_t line = 0;                            // from a point to that below it in the same bin
  std::vector<Int<A>> pixel, right, below;
  std::vector<A> y_part, x_part;               // distance from the pixel, in [0, 1)
  std::vector<Int<A>> y_moves, x_moves;        // 0 before the first pixel, where moving changes nothing; else -1

 private:
  void locate() {
    const Frame<A>& frame = *frame_;
    const int64_t begin = first_ * frame.grid_x, count = (last_ - first_) * frame.grid_x;
    line = (count + kLanes<A> - 1) / kLanes<A> * kLanes<A>;
    const int64_t size = line * frame.grid_y;
    if (static_cast<int64_t>(pixel.size()) < size) {
      for (auto* part : {&pixel, &right, &below, &y_moves, &x_moves}) part->resize(size);
      for (auto* part : {&y_part, &x_part}) part->resize(size);
    }
    for (int64_t step = 0; step < frame.grid_y; ++step) {
      const A at_v = v[row_ * frame.grid_y + step];
      const A base_y = frame.origin_y + at_v * frame.down_y, base_x = frame.origin_x + at_v * frame.down_x;
      for (int64_t done = 0; done < count; done += kLanes<A>) {
        const Vec<A> at_u = load<A>(u.data() + begin + done);
        locate_vector(base_y + at_u * frame.across_y, base_x + at_u * frame.across_x, step * line + done);
      }
    }
  }

  void locate_vector(Vec<A> y, Vec<A> x, int64_t at) {
    const A last_y = static_cast<A>(height_ - 1), last_x = static_cast<A>(width_ - 1);
    const Vec<A> zero = {};
    // Written so that NaN fails; converting NaN or a huge number to an integer is undefined.
    const IntVec<A> inside = (y >= A(-1)) & (x >= A(-1)) & (y <= last_y + 1) & (x <= last_x + 1);
    // At the first pixel itself a point reads towards the second; before it, it reads the edge wherever it is.
    put(y_moves, at, inside & (y >= 0));
    put(x_moves, at, inside & (x >= 0));
    y = (inside & (y > 0)) ? y : zero;
    x = (inside & (x > 0)) ? x : zero;
    const IntVec<A> y_free = inside & (y < last_y), x_free = inside & (x < last_x);
    y = y < last_y ? y : zero + last_y;
    x = x < last_x ? x : zero + last_x;
    const IntVec<A> top = __builtin_convertvector(y, IntVec<A>), left = __builtin_convertvector(x, IntVec<A>);
    const IntVec<A> none = IntVec<A>{} - 1, width = IntVec<A>{} + static_cast<Int<A>>(width_);
    put(pixel, at, inside ? top * width + left : none);
    put(right, at, x_free & 1);
    put(below, at, y_free & width);
    put(y_part, at, y - __builtin_convertvector(top, Vec<A>));
    put(x_part, at, x - __builtin_convertvector(left, Vec<A>));
  }

  template <typename Store, typename Value>
  static void put(Store& to, int64_t at, Value value) {
    std::memcpy(to.data() + at, &value, sizeof(value));
  }

  int64_t height_, width_, rows_, columns_;
  const Frame<A>* frame_ = nullptr;
  int64_t row_ = -1, first_ = 0, last_ = 0;
};

// Places, each once, and the sum of the weights that were added to each; in order of first appearance.
template <typename A>
class TapList {
 public:
  explicit TapList(int64_t places) : slots_(places, -1) {}

  // Room for `more` additions after the next clear().
  void reserve(int64_t more) {
    const int64_t size = std::min<int64_t>(more, slots_.size()) + 1;  // add() writes one beyond the last
    if (static_cast<int64_t>(place.size()) >= size) return;
    place.resize(size);
    weight.resize(size);
  }

  void clear() {
    for (int32_t i = 0; i < count; ++i) {
      slots_[place[i]] = -1;
      weight[i] = 0;
    }
    count = 0;
  }

  // Without a branch: whether a pixel is new is hard to predict.
  void add(int64_t at, A share) {
    const int32_t found = slots_[at], slot = found < 0 ? count : found;
    slots_[at] = slot;
    place[slot] = static_cast<int32_t>(at);
    weight[slot] += share;
    count += found < 0;
  }

  int32_t slot(int64_t at) const { return slots_[at]; }

  int32_t count = 0;
  std::vector<int32_t> place;
  std::vector<A> weight;  // 0 from `count` on

 private:
  std::vector<int32_t> slots_;
};

// Merged weights of the bins of an axis-aligned RoI along one axis.
template <typename A>
struct AxisTaps {
  explicit AxisTaps(int64_t places) : list(places), size(places) {}

  void find(const std::vector<A>& fractions, int64_t bins, int64_t grid, A origin, A step) {
    begin.assign(1, 0);
    place.clear();
    weight.clear();
    list.reserve(2 * grid);
    for (int64_t bin = 0; bin < bins; ++bin) {
      for (int64_t i = bin * grid; i < (bin + 1) * grid; ++i) {
        A at = origin + fractions[i] * step;
        if (!(at >= -1 && at <= static_cast<A>(size))) continue;  // also NaN
        at = std::min(std::max(at, A(0)), static_cast<A>(size - 1));
        const int64_t first = static_cast<int64_t>(at);
        const A part = at - static_cast<A>(first);
        list.add(first, 1 - part);
        list.add(std::min(first + 1, size - 1), part);
      }
      place.insert(place.end(), list.place.begin(), list.place.begin() + list.count);
      weight.insert(weight.end(), list.weight.begin(), list.weight.begin() + list.count);
      list.clear();
      begin.push_back(static_cast<int64_t>(place.size()));
    }
  }

  TapList<A> list;
  int64_t size;
  std::vector<int64_t> begin;  // (bins + 1,)
  std::vector<int32_t> place;
  std::vector<A> weight;
};

// The taps of one RoI after another, bin by bin. Their order depends on the RoI alone.
template <typename A>
class RoiTaps {
 public:
  explicit RoiTaps(const RoiArgs& args)
      : list(args.height * args.width),
        grid(args.height, args.width, args.rows, args.columns),
        rows_(args.height),
        columns_(args.width),
        args_(args) {}

  void start(const Frame<A>& frame) {
    frame_ = &frame;
    grid.start(frame);
    list.reserve(4 * frame.grid_y * frame.grid_x);
    if (!frame.upright()) return;
    rows_.find(grid.v, args_.rows, frame.grid_y, frame.origin_y, frame.down_y);
    columns_.find(grid.u, args_.columns, frame.grid_x, frame.origin_x, frame.across_x);
  }

  // Puts the taps of a bin into `list`.
  void collect(int64_t row, int64_t column) {
    list.clear();
    if (frame_->upright()) {
      collect_product(row, column);
    } else {
      const int64_t first = grid.find(row, column);
      for (int64_t step = 0; step < frame_->grid_y; ++step) {
        for (int64_t i = 0; i < frame_->grid_x; ++i) add_point(first + step * grid.line + i);
      }
    }
  }

  TapList<A> list;
  PointGrid<A> grid;

 private:
  void collect_product(int64_t row, int64_t column) {
    const int64_t begin = columns_.begin[column], end = columns_.begin[column + 1];
    int32_t count = 0;
    for (int64_t y = rows_.begin[row]; y < rows_.begin[row + 1]; ++y) {
      const int32_t first = rows_.place[y] * static_cast<int32_t>(args_.width);
      for (int64_t x = begin; x < end; ++x, ++count) {
        list.place[count] = first + columns_.place[x];
        list.weight[count] = rows_.weight[y] * columns_.weight[x];
      }
    }
    list.count = count;
  }

  void add_point(int64_t i) {
    const int64_t pixel = grid.pixel[i], right = grid.right[i], below = grid.below[i];
    if (pixel < 0) return;
    const A y_part = grid.y_part[i], x_part = grid.x_part[i];
    list.add(pixel, (1 - y_part) * (1 - x_part));
    list.add(pixel + right, (1 - y_part) * x_part);
    list.add(pixel + below, y_part * (1 - x_part));
    list.add(pixel + below + right, y_part * x_part);
  }

  AxisTaps<A> rows_, columns_;
  const RoiArgs& args_;
  const Frame<A>* frame_ = nullptr;
};

}  // namespace stn_det::STN_DET_ISA
