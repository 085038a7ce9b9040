// What the kernels of deformable attention share: which query a group of lanes serves, where its points lie, and what
// they weigh.
//
// A group of lanes serves one (query, head): each lane reads 16 bytes of channels. What is the same for all channels of
// a point is calculated once, by one lane, and handed to the others through shared memory. Queries that are the pixels
// of the levels are served in bands of eight rows, column by column, so that a block serves a square of them, whose
// points read the same lines of the cache.
#pragma once

#include "../common/point_frame.h"
#include "../entry/ms_deform_attn.h"
#include "elements.h"

namespace stn_det::cuda {

constexpr int kGroupThreads = 256;  // of a block at most
constexpr int kMostGroups = 64;     // of a block: the square of queries
constexpr int kBandRows = 8;        // of the square
constexpr int kChunk = 16;          // points that a group holds in shared memory at a time

// A level in shared memory. Levels without pixels have 0 rows; those that do not fit the value -1.
struct LevelShape {
  int height, width, start;
};

// How threads are divided. Everything is a power of two.
struct Groups {
  int lanes;     // of a group
  int per_block;
};

// Groups for `channels` in packs of `pack`.
inline Groups groups_for(int64_t channels, int pack) {
  Groups groups{1, kMostGroups};
  while (groups.lanes < 32 && groups.lanes * pack < channels) groups.lanes *= 2;
  if (groups.lanes * groups.per_block > kGroupThreads) groups.per_block = kGroupThreads / groups.lanes;
  return groups;
}

// Reads the levels into shared memory; every thread of the block has to call it. Returns whether levels come one after
// the other, without which an order of queries by levels would not be one.
__device__ __forceinline__ bool read_levels(const AttentionArgs& args, LevelShape* levels) {
  const int count = static_cast<int>(args.levels);
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
    const int64_t height = args.shapes[2 * i], width = args.shapes[2 * i + 1], start = args.starts[i];
    constexpr int64_t kMost = int64_t{1} << 31;  // so that the product is a number
    const bool empty = height == 0 || width == 0;
    const bool fits = height >= 0 && width >= 0 && start >= 0 && start <= args.positions &&
                      (empty || (height <= kMost && width <= kMost && height * width <= args.positions - start));
    levels[i] = !fits ? LevelShape{-1, 0, 0}
                : empty ? LevelShape{0, 0, 0}
                        : LevelShape{static_cast<int>(height), static_cast<int>(width), static_cast<int>(start)};
  }
  __syncthreads();
  int64_t free = 0;
  bool ordered = true;
  for (int i = 0; i < count; ++i) {
    if (levels[i].height == 0) continue;
    ordered = ordered && levels[i].height > 0 && levels[i].start >= free;
    free = levels[i].start + static_cast<int64_t>(levels[i].height) * levels[i].width;
  }
  return ordered;
}

// The query that comes at `index` in the order of bands.
__device__ __forceinline__ int64_t banded_query(int64_t index, const LevelShape* levels, int count) {
  for (int i = 0; i < count; ++i) {
    const LevelShape level = levels[i];
    const int64_t place = index - level.start;
    if (place < 0 || place >= static_cast<int64_t>(level.height) * level.width) continue;
    const int at = static_cast<int>(place), band = at / (kBandRows * level.width);
    const int rest = at - band * kBandRows * level.width;
    const int rows = min(kBandRows, level.height - band * kBandRows);
    const int column = rest / rows;
    return level.start + static_cast<int64_t>(band * kBandRows + rest - column * rows) * level.width + column;
  }
  return index;
}

// What lanes read at a point without corners: 16 bytes each. Every file has its own.
[[maybe_unused]] static __device__ uint4 zero_page[32];

// Where the lanes of a group read a point.
struct alignas(8) SharedPixel {
  int pixel;  // of the first corner, -1: none
  int steps;  // pixels to the row below, times 2, plus 1 if there is a column to the right
};

// One record more than a chunk has points, so that groups begin in different banks.
constexpr int kPitch = kChunk + 1;

// Two neighbouring pixels of one axis that a point reads.
template <typename A>
struct PointTaps {
  int first;               // -1: the point reads nothing
  bool both;               // else only the first
  A low, high;             // weights of the first and the second
  A low_slope, high_slope; // their derivatives to the coordinate
};

// at: in pixels, 0 is the centre of the first.
template <typename A>
__device__ __forceinline__ PointTaps<A> find_point_taps(A at, int size) {
  // Written so that NaN fails; converting NaN or a huge number to an integer is undefined.
  if (!(at > -1 && at < static_cast<A>(size)) || size == 0) return {-1, false, 0, 0, 0, 0};
  const A base = floor(at), part = at - base;
  const int left = static_cast<int>(base);
  if (left < 0) return {0, false, part, 0, 1, 0};
  if (left + 1 >= size) return {left, false, 1 - part, 0, -1, 0};
  return {left, true, 1 - part, part, -1, 1};
}

template <typename A>
__device__ __forceinline__ SharedPixel pixel_of(
    const LevelShape& shape, const PointTaps<A>& across, const PointTaps<A>& down) {
  if (across.first < 0 || down.first < 0) return {-1, 0};
  return {shape.start + down.first * shape.width + across.first, 2 * (down.both ? shape.width : 0) + across.both};
}

// Sampling points of one (query, head), in either form of the arguments.
template <typename A, bool kFused>
struct PointSource {
  const AttentionArgs& args;
  const LevelShape* levels;
  int64_t query;  // of all images
  int64_t first;  // index of its first point in the tensors of points
  A largest;      // logit, fused only

  // Pixel coordinates of point `i` of level `level`.
  __device__ __forceinline__ void locate(int i, int level, A& x, A& y) const {
    const A width = static_cast<A>(levels[level].width), height = static_cast<A>(levels[level].height);
    if constexpr (kFused) {
      const Pack<A, 2> offset = load_pack<A, 2>(static_cast<const A*>(args.offsets) + 2 * (first + i));
      const PointFrame<A> frame = frame_at(level);
      x = frame.origin_x + frame.xx * offset.at[0] + frame.xy * offset.at[1];
      y = frame.origin_y + frame.yx * offset.at[0] + frame.yy * offset.at[1];
    } else {
      const Pack<A, 2> location = load_pack<A, 2>(static_cast<const A*>(args.locations) + 2 * (first + i));
      x = location.at[0] * width - A(0.5);
      y = location.at[1] * height - A(0.5);
    }
  }

  __device__ __forceinline__ PointFrame<A> frame_at(int level) const {
    const A* reference =
        static_cast<const A*>(args.references) + (query * args.levels + level) * args.reference_size;
    return frame_of<A>(
        reference, args.reference_size, static_cast<A>(levels[level].height), static_cast<A>(levels[level].width),
        args.points);
  }

  // Weight of point `i`: given, or the exponential that is still to be divided by the sum of all.
  __device__ __forceinline__ A weight(int i) const {
    if constexpr (!kFused) return static_cast<const A*>(args.weights)[first + i];
    return exp(static_cast<const A*>(args.logits)[first + i] - largest);
  }

  // Sum of the exponentials over all points, and the largest logit, by the lanes of a group together.
  __device__ __forceinline__ A sum_weights(int lane, int lanes, int count) {
    const A* logits = static_cast<const A*>(args.logits) + first;
    largest = -INFINITY;
    for (int i = lane; i < count; i += lanes) largest = logits[i] > largest ? logits[i] : largest;
    for (int bits = lanes / 2; bits > 0; bits /= 2) {
      const A other = __shfl_xor_sync(0xffffffffu, largest, bits, lanes);
      largest = other > largest ? other : largest;
    }
    A sum = 0;
    for (int i = lane; i < count; i += lanes) sum += weight(i);  // NaN anywhere makes it NaN
    for (int bits = lanes / 2; bits > 0; bits /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, bits, lanes);
    return sum;
  }
};

// The (query, head) of a group of lanes and its channels. Blocks go through images, squares of queries, heads and parts
// of the channels, the last fastest.
struct GroupPlace {
  int64_t image, query;  // query of all images, valid where `active`
  int head, part;
  bool active;
};

__device__ __forceinline__ GroupPlace place_group(
    const AttentionArgs& args, const LevelShape* levels, bool ordered, int group, int groups, int parts) {
  GroupPlace place;
  // Divided in 32 bits, which is several times as fast; a grid has no more blocks.
  const unsigned chunks = static_cast<unsigned>((args.queries + groups - 1) / groups);
  const unsigned heads = static_cast<unsigned>(args.heads);
  unsigned block = blockIdx.x;
  place.part = static_cast<int>(block % static_cast<unsigned>(parts));
  block /= static_cast<unsigned>(parts);
  place.head = static_cast<int>(block % heads);
  block /= heads;
  const unsigned image = block / chunks;
  place.image = image;
  int64_t query = static_cast<int64_t>(block - image * chunks) * groups + group;
  place.active = query < args.queries;
  // Groups without a query go through the motions of the last one, for all lanes of a warp work together.
  if (!place.active) query = args.queries - 1;
  if (ordered && args.queries == args.positions) query = banded_query(query, levels, static_cast<int>(args.levels));
  place.query = place.image * args.queries + query;
  return place;
}

inline int64_t blocks_of_groups(const AttentionArgs& args, const Groups& groups, int parts) {
  return args.images * ((args.queries + groups.per_block - 1) / groups.per_block) * args.heads * parts;
}

// The gradient to the value, a part of the backward pass.
void ms_deform_attn_backward_value(const AttentionArgs& args);

}  // namespace stn_det::cuda
