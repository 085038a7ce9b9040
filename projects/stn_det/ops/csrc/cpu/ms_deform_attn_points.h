// Sampling points of deformable attention: from reference points or boxes, offsets and logits to pixels and weights,
// and from pixels to the corners around them. Included by kernels only, once per instruction set.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "buffer.h"
#include "../common/point_frame.h"
#include "../entry/ms_deform_attn.h"
#include "simd.h"

namespace stn_det::STN_DET_ISA {

// The four corners around points of one level. Arrays of one number a point, with room up to a whole vector.
//
// Maps come in two layouts. Plain: row after row; corners outside the level have no pixel, and `inside` tells which
// have. Padded (see `PaddedMaps`): all corners have one, zeros outside the level.
template <typename A>
struct CornerBlock {
  using Int = std::conditional_t<std::is_same_v<A, float>, int32_t, int64_t>;

  int64_t row = 0;           // pixels from a row of the map to the next
  Buffer<Int> pixel;         // of the top left corner; may lie outside a plain map
  Buffer<A> right, bottom;   // distance from the left and top pixels, in [0, 1)
  Buffer<A> weight[4];       // top left, top right, bottom left, bottom right
  Buffer<Int> inside;        // plain maps only; 15: all corners lie in the level; else a bit a corner

  explicit CornerBlock(int64_t points) : CornerBlock(RoomFor{(points + kLanes<A> - 1) / kLanes<A> * kLanes<A>}) {}

  // Points in pixel indices (0 is the centre of the first pixel) and their weights; reads up to whole vectors.
  template <bool kPadded>
  [[gnu::noinline]] void find(
      const A* x, const A* y, const A* attention, int64_t count, int64_t level_height, int64_t level_width) {
    using Ints = Vec<Int>;
    const A height = static_cast<A>(level_height), width = static_cast<A>(level_width);
    const Vec<A> away_x = Vec<A>{} - (kPadded ? 1 : 0), away_y = Vec<A>{} + (kPadded ? height : 0);
    row = kPadded ? level_width + 1 : level_width;
    const Int step = static_cast<Int>(row), first = static_cast<Int>(kPadded ? level_width + 2 : 0);
    for (int64_t i = 0; i < count; i += kLanes<A>) {
      Vec<A> at_x = load<A>(x + i), at_y = load<A>(y + i);
      // Written so that NaN fails; converting NaN or a huge number to an integer is undefined.
      const Ints touches = (at_x > -1) & (at_y > -1) & (at_x < width) & (at_y < height);
      at_x = touches ? at_x : away_x;
      at_y = touches ? at_y : away_y;
      // Rounded towards zero, then down; a comparison that holds is -1.
      Ints column = __builtin_convertvector(at_x, Ints), line = __builtin_convertvector(at_y, Ints);
      column += __builtin_convertvector(column, Vec<A>) > at_x;
      line += __builtin_convertvector(line, Vec<A>) > at_y;
      const Vec<A> dx = at_x - __builtin_convertvector(column, Vec<A>);
      const Vec<A> dy = at_y - __builtin_convertvector(line, Vec<A>);
      const Vec<A> upper = (1 - dy) * load<A>(attention + i), lower = dy * load<A>(attention + i);
      store<A>(&weight[0][i], upper * (1 - dx));
      store<A>(&weight[1][i], upper * dx);
      store<A>(&weight[2][i], lower * (1 - dx));
      store<A>(&weight[3][i], lower * dx);
      store<A>(&right[i], dx);
      store<A>(&bottom[i], dy);
      const Ints position = line * step + column + first;
      std::memcpy(&pixel[i], &position, sizeof(Ints));
      if constexpr (!kPadded) {
        const Ints has_left = (column >= 0) & 5, has_right = (at_x < width - 1) & 10;
        const Ints has_top = (line >= 0) & 3, has_bottom = (at_y < height - 1) & 12;
        const Ints corners = touches & (has_left | has_right) & (has_top | has_bottom);
        std::memcpy(&inside[i], &corners, sizeof(Ints));
      }
    }
  }

 private:
  struct RoomFor {
    int64_t count;
  };

  explicit CornerBlock(RoomFor room)
      : pixel(room.count), right(room.count), bottom(room.count),
        weight{Buffer<A>(room.count), Buffer<A>(room.count), Buffer<A>(room.count), Buffer<A>(room.count)},
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

}  // namespace stn_det::STN_DET_ISA
