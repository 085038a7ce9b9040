// Shapes on the CPU: rows of numbers turned into columns, a vector of shapes at a time.
#pragma once

#include <algorithm>

#include "../common/shapes.h"
#include "buffer.h"
#include "lanes.h"

namespace stn_det::STN_DET_ISA {

// One row of numbers a shape, turned into one column a number; padded with zeros to whole vectors.
template <typename A>
class Columns {
 public:
  Columns(int columns, int64_t count)
      : stride_((count + kLanes<A> - 1) / kLanes<A> * kLanes<A>), values_(columns * stride_) {}

  const A* column(int k) const { return values_.data() + k * stride_; }
  A* column(int k) { return values_.data() + k * stride_; }
  int64_t padded() const { return stride_; }

 private:
  int64_t stride_;
  Buffer<A> values_;
};

// Up to a vector of rows of kRaw numbers, turned.
template <int kRaw, typename A>
inline void load_rows(const A* rows, int64_t count, Vec<A>* raw) {
  A turned[kRaw][kLanes<A>] = {};
  for (int64_t lane = 0; lane < count; ++lane) {
    for (int k = 0; k < kRaw; ++k) turned[k][lane] = rows[lane * kRaw + k];
  }
  for (int k = 0; k < kRaw; ++k) raw[k] = load<A>(turned[k]);
}

// The rows at `index`, prepared before.
template <int kReady, typename A>
inline void gather(const Columns<A>& ready, const int64_t* index, int64_t count, Vec<A>* out) {
  A turned[kReady][kLanes<A>];
  for (int64_t lane = 0; lane < kLanes<A>; ++lane) {
    const int64_t from = index[lane < count ? lane : 0];
    for (int k = 0; k < kReady; ++k) turned[k][lane] = ready.column(k)[from];
  }
  for (int k = 0; k < kReady; ++k) out[k] = load<A>(turned[k]);
}

template <int kReady, typename A>
inline void broadcast(const Columns<A>& ready, int64_t from, Vec<A>* out) {
  for (int k = 0; k < kReady; ++k) out[k] = Vec<A>{} + ready.column(k)[from];
}

// Shapes (count, kRaw) prepared, and their bounds in four columns.
template <typename Shape, typename A>
inline void prepare_all(const A* rows, int64_t count, Columns<A>& ready, Columns<A>& bounds) {
  for (int64_t begin = 0; begin < count; begin += kLanes<A>) {
    Vec<A> raw[Shape::kRaw], out[Shape::kReady];
    load_rows<Shape::kRaw>(rows + begin * Shape::kRaw, std::min(kLanes<A>, count - begin), raw);
    Shape::prepare(raw, out);
    for (int k = 0; k < Shape::kReady; ++k) store<A>(ready.column(k) + begin, out[k]);
    const Bounds<Vec<A>> box = Shape::bounds(out);
    store<A>(bounds.column(0) + begin, box.low_x);
    store<A>(bounds.column(1) + begin, box.low_y);
    store<A>(bounds.column(2) + begin, box.high_x);
    store<A>(bounds.column(3) + begin, box.high_y);
  }
}

}  // namespace stn_det::STN_DET_ISA
