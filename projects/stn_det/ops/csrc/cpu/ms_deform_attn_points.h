// Sampling points of deformable attention: from reference points or boxes, offsets and logits to pixels and weights, and
// from pixels to the corners around them. Included by kernels only, once per instruction set.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "buffer.h"
#include "ms_deform_attn.h"
#include "simd.h"

namespace stn_det::STN_DET_ISA {

// Points in pixel indices (0 is the centre of the first pixel) and their weights; then their four corners. Arrays of one
// number a point, with room up to a whole vector, which the corners are found in.
template <typename A>
struct PointBlock {
  using Int = std::conditional_t<std::is_same_v<A, float>, int32_t, int64_t>;

  Buffer<A> width, height;      // of the point's level
  Buffer<Int> columns, start;   // the same width, and the first position of the level
  Buffer<A> x, y, weight;
  Buffer<Int> pixel;            // position of the top left corner, which may lie outside the level
  Buffer<A> right, bottom;      // distance from the left and top pixels, in [0, 1)
  Buffer<A> corner[4];          // weights: top left, top right, bottom left, bottom right
  Buffer<Int> inside;           // 15: all corners lie in the level; else a bit a corner

  explicit PointBlock(int64_t size) : PointBlock(RoomFor{(size + kLanes<A> - 1) / kLanes<A> * kLanes<A>}) {}

  void set_level(int64_t point, int64_t rows, int64_t level_columns, int64_t first) {
    height[point] = static_cast<A>(rows);
    width[point] = static_cast<A>(level_columns);
    columns[point] = static_cast<Int>(level_columns);
    start[point] = static_cast<Int>(first);
  }

  // Fills in everything below `weight` for the first `count` points.
  void find_corners(int64_t count) {
    using Ints = Vec<Int>;
    const Vec<A> zero = {};
    for (int64_t i = 0; i < count; i += kLanes<A>) {
      const Vec<A> w = load<A>(&width[i]), h = load<A>(&height[i]), attention = load<A>(&weight[i]);
      Vec<A> at_x = load<A>(&x[i]), at_y = load<A>(&y[i]);
      // Written so that NaN fails; converting NaN or a huge number to an integer is undefined.
      const Ints touches = (at_x > -1) & (at_y > -1) & (at_x < w) & (at_y < h);
      at_x = touches ? at_x : zero;
      at_y = touches ? at_y : zero;
      // Rounded towards zero, then down; a comparison that holds is -1.
      Ints column = __builtin_convertvector(at_x, Ints), row = __builtin_convertvector(at_y, Ints);
      column += __builtin_convertvector(column, Vec<A>) > at_x;
      row += __builtin_convertvector(row, Vec<A>) > at_y;
      const Vec<A> dx = at_x - __builtin_convertvector(column, Vec<A>);
      const Vec<A> dy = at_y - __builtin_convertvector(row, Vec<A>);
      const Vec<A> upper = (1 - dy) * attention, lower = dy * attention;
      store<A>(&corner[0][i], upper * (1 - dx));
      store<A>(&corner[1][i], upper * dx);
      store<A>(&corner[2][i], lower * (1 - dx));
      store<A>(&corner[3][i], lower * dx);
      store<A>(&right[i], dx);
      store<A>(&bottom[i], dy);
      Ints level_columns, first;
      std::memcpy(&level_columns, &columns[i], sizeof(Ints));
      std::memcpy(&first, &start[i], sizeof(Ints));
      const Ints position = first + row * level_columns + column;
      const Ints has_left = (column >= 0) & 5, has_right = (at_x < w - 1) & 10;
      const Ints has_top = (row >= 0) & 3, has_bottom = (at_y < h - 1) & 12;
      const Ints corners = touches & (has_left | has_right) & (has_top | has_bottom);
      std::memcpy(&pixel[i], &position, sizeof(Ints));
      std::memcpy(&inside[i], &corners, sizeof(Ints));
    }
  }

 private:
  struct RoomFor {
    int64_t count;
  };

  explicit PointBlock(RoomFor room)
      : width(room.count), height(room.count), columns(room.count), start(room.count), x(room.count), y(room.count),
        weight(room.count), pixel(room.count), right(room.count), bottom(room.count),
        corner{Buffer<A>(room.count), Buffer<A>(room.count), Buffer<A>(room.count), Buffer<A>(room.count)},
        inside(room.count) {}
};

// exp of numbers that are not positive, at most 2 ulp off; NaN stays NaN.
inline Vec<float> exp_negative(Vec<float> x) {
  using Ints = Vec<int32_t>;
  const Ints tiny = x < -87.0f;
  const Vec<float> zero = {};
  x = tiny ? zero : x;
  const float shifter = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, which its low bits then hold
  const Vec<float> shifted = x * 1.44269504f + shifter;
  const Vec<float> n = shifted - shifter;
  const Vec<float> r = (x - n * 0.693359375f) - n * -2.12194440e-4f;  // ln 2 in two parts
  Vec<float> power = r * (1.0f / 5040) + 1.0f / 720;  // the series; |r| <= ln 2 / 2 leaves 5e-9
  power = power * r + 1.0f / 120;
  power = power * r + 1.0f / 24;
  power = power * r + 1.0f / 6;
  power = power * r + 0.5f;
  power = power * r + 1.0f;
  power = power * r + 1.0f;
  Ints bits;
  std::memcpy(&bits, &shifted, sizeof(bits));
  bits = (bits + 127) << 23;
  Vec<float> scale;
  std::memcpy(&scale, &bits, sizeof(scale));
  return tiny ? zero : power * scale;
}

// Weights of all points of a row that sum to 1. NaN anywhere makes all of them NaN, as in torch.
template <typename A>
inline void softmax(const A* logits, int64_t count, A* weights) {
  if (count == 0) return;
  A largest = logits[0];
  for (int64_t i = 1; i < count; ++i) largest = std::max(largest, logits[i]);
  A total = 0;
  if constexpr (std::is_same_v<A, float>) {
    int64_t i = 0;
    Vec<float> totals = {};
    for (; i + kLanes<float> <= count; i += kLanes<float>) {
      const Vec<float> power = exp_negative(load<float>(logits + i) - largest);
      store<float>(weights + i, power);
      totals += power;
    }
    if (i < count) {
      float rest[kLanes<float>];
      std::fill(rest, rest + kLanes<float>, largest);
      std::copy(logits + i, logits + count, rest);
      const Vec<float> power = exp_negative(load<float>(rest) - largest);
      for (int64_t lane = 0; i < count; ++i, ++lane) total += weights[i] = power[lane];
    }
    total += sum<float>(totals);
  } else {
    for (int64_t i = 0; i < count; ++i) total += weights[i] = std::exp(logits[i] - largest);
  }
  const A factor = 1 / total;
  for (int64_t i = 0; i < count; ++i) weights[i] *= factor;
}

// Pixel of a point from its offset: (x, y) = (origin_x, origin_y) + [[xx, xy], [yx, yy]] (offset_x, offset_y).
template <typename A>
struct PointFrame {
  A origin_x, origin_y, xx, xy, yx, yy;
};

template <typename A>
inline PointFrame<A> frame_of(const A* reference, int64_t size, A height, A width, int64_t points) {
  PointFrame<A> frame = {reference[0] * width - A(0.5), reference[1] * height - A(0.5), 1, 0, 0, 1};
  if (size == 2) return frame;
  const A half_w = reference[2] * width / static_cast<A>(2 * points);
  const A half_h = reference[3] * height / static_cast<A>(2 * points);
  const A cosine = size == 5 ? std::cos(reference[4]) : A(1), sine = size == 5 ? std::sin(reference[4]) : A(0);
  frame.xx = cosine * half_w;
  frame.xy = -sine * half_h;
  frame.yx = sine * half_w;
  frame.yy = cosine * half_h;
  return frame;
}

// The chain rule through frame_of.
template <typename A>
inline void frame_backward(
    const A* reference, int64_t size, A height, A width, int64_t points, const PointFrame<A>& grad, A* grad_reference) {
  grad_reference[0] = grad.origin_x * width;
  grad_reference[1] = grad.origin_y * height;
  if (size == 2) return;
  const A unit_w = width / static_cast<A>(2 * points), unit_h = height / static_cast<A>(2 * points);
  const A cosine = size == 5 ? std::cos(reference[4]) : A(1), sine = size == 5 ? std::sin(reference[4]) : A(0);
  grad_reference[2] = (grad.xx * cosine + grad.yx * sine) * unit_w;
  grad_reference[3] = (grad.yy * cosine - grad.xy * sine) * unit_h;
  if (size == 4) return;
  grad_reference[4] = reference[2] * unit_w * (grad.yx * cosine - grad.xx * sine) -
                      reference[3] * unit_h * (grad.xy * cosine + grad.yy * sine);
}

// Frames of every query and level.
template <typename A>
void make_frames(const AttentionArgs& args) {
  const A* references = static_cast<const A*>(args.references);
  PointFrame<A>* frames = static_cast<PointFrame<A>*>(args.frames);
  for_ranges(args.parallel_for, 0, args.images * args.queries, 256, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * args.levels; i < end * args.levels; ++i) {
      const int64_t* shape = args.shapes + 2 * (i % args.levels);
      frames[i] = frame_of<A>(
          references + i * args.reference_size, args.reference_size, static_cast<A>(shape[0]), static_cast<A>(shape[1]),
          args.points);
    }
  });
}

// Pixels (x, y) and weights of all points of one row (image, query, head) of the fused form.
template <typename A>
inline void locate_fused(const AttentionArgs& args, int64_t query, int64_t head, A* x, A* y, int64_t step, A* weights) {
  const int64_t samples = args.levels * args.points, row = query * args.heads + head;
  const PointFrame<A>* frames = static_cast<const PointFrame<A>*>(args.frames) + query * args.levels;
  const A* offsets = static_cast<const A*>(args.offsets) + 2 * row * samples;
  for (int64_t level = 0, i = 0; level < args.levels; ++level) {
    const PointFrame<A> frame = frames[level];
    for (int64_t point = 0; point < args.points; ++point, ++i) {
      const A offset_x = offsets[2 * i], offset_y = offsets[2 * i + 1];
      x[i * step] = frame.origin_x + frame.xx * offset_x + frame.xy * offset_y;
      y[i * step] = frame.origin_y + frame.yx * offset_x + frame.yy * offset_y;
    }
  }
  softmax<A>(static_cast<const A*>(args.logits) + row * samples, samples, weights);
}

}  // namespace stn_det::STN_DET_ISA
