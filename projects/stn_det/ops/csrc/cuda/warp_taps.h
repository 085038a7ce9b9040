// Which pixel a thread of the warp works on, and which pixels of the source its points read. Forward and backward.
//
// Positions are double; what a point does not read off the middle of an image goes through the exact rules of
// common/warp_map.h, the rest needs no more than a floor and two comparisons an axis: consumer GPUs do one operation on
// doubles where they do 64 on floats.
#pragma once

#include "../common/warp_map.h"
#include "elements.h"

namespace stn_det::cuda {

constexpr int kThreads = static_cast<int>(WarpGrid::kThreads);

// What a block works on: an image, a range of channels and a tile.
struct BlockPlace {
  int64_t image, part, first_channel, last_channel, top, left;

  __device__ __forceinline__ BlockPlace(const WarpArgs& args, const WarpGrid& grid) {
    unsigned rest = blockIdx.x;
    const unsigned across = static_cast<unsigned>(grid.across), down = static_cast<unsigned>(grid.down);
    const unsigned parts = static_cast<unsigned>(grid.parts);
    left = static_cast<int64_t>(rest % across) * grid.tile_width;
    rest /= across;
    top = static_cast<int64_t>(rest % down) * grid.tile_height;
    rest /= down;
    part = rest % parts;
    first_channel = part * grid.channels;
    last_channel = first_channel + grid.channels;
    last_channel = last_channel < args.channels ? last_channel : args.channels;
    image = rest / parts;
  }
};

// Functions with divisions of doubles, each of which takes a hundred instructions, are called and not copied.
struct PointCounts {
  int across, down;
};

__device__ __attribute__((noinline)) inline PointCounts count_points(const PointMap& map, double x, double y) {
  int64_t across, down;
  count_points(map, x, y, across, down);
  return {static_cast<int>(across), static_cast<int>(down)};
}

__device__ __attribute__((noinline)) inline SourcePoint locate(const PointMap& map, double x, double y) {
  return locate_projective(map, x, y);
}

// A pixel of the destination and its points.
struct Pixel {
  int64_t row, column;
  int across, down;  // points; 0 for pixels outside of the image

  // One point. `index`: in the tile.
  __device__ __forceinline__ Pixel(const WarpArgs& args, const WarpGrid& grid, const BlockPlace& block, int index) {
    const int line = index / grid.tile_width;
    row = block.top + line;
    column = block.left + (index - line * grid.tile_width);
    across = down = row < args.out_height && column < args.out_width ? 1 : 0;
  }

  __device__ __forceinline__ Pixel(
      const WarpArgs& args, const WarpGrid& grid, const BlockPlace& block, const PointMap& map, int index)
      : Pixel(args, grid, block, index) {
    if (!args.antialias || across == 0) return;
    const PointCounts counts =
        count_points(map, static_cast<double>(column) + 0.5, static_cast<double>(row) + 0.5);
    across = counts.across;
    down = counts.down;
  }

  __device__ __forceinline__ int points() const { return across * down; }
};

// A point of a pixel: where it is and where it leads.
struct WarpPoint {
  double to_x, to_y;
  SourcePoint source;

  __device__ __forceinline__ WarpPoint(const PointMap& map, int64_t row, int64_t column, int across, int down, int k) {
    to_x = static_cast<double>(column) + 0.5;
    to_y = static_cast<double>(row) + 0.5;
    if (across * down > 1) {
      const int line = k / across;
      to_x += part_of_pixel(k - line * across, across);
      to_y += part_of_pixel(line, down);
    }
    source = map.projective ? locate(map, to_x, to_y) : locate_affine(map.m, to_x, to_y);
  }
};

// Where the points of the pixels of a block come from, as kernels take it for a template parameter: a matrix, which
// lies in shared memory.
struct MatrixPoints {
  static constexpr bool kGiven = false;
  using Shared = PointMap;
  using Point = WarpPoint;

  const PointMap& map;

  __device__ __forceinline__ MatrixPoints(const WarpArgs& args, const BlockPlace& block, PointMap& shared)
      : map(shared) {
    if (threadIdx.x == 0) shared = read_map(args, block.image);
    __syncthreads();
  }

  __device__ __forceinline__ Pixel pixel(
      const WarpArgs& args, const WarpGrid& grid, const BlockPlace& block, int index) const {
    return Pixel(args, grid, block, map, index);
  }

  // Point `k` of the pixel.
  __device__ __forceinline__ WarpPoint point(const WarpArgs&, const BlockPlace&, const Pixel& pixel, int k) const {
    return WarpPoint(map, pixel.row, pixel.column, pixel.across, pixel.down, k);
  }
};

// The same where a point is given for each pixel.
struct GivenPoints {
  static constexpr bool kGiven = true;
  struct Shared {};
  struct Point {
    IndexPoint source;
  };

  __device__ __forceinline__ GivenPoints(const WarpArgs&, const BlockPlace&, Shared&) {}

  __device__ __forceinline__ Pixel pixel(
      const WarpArgs& args, const WarpGrid& grid, const BlockPlace& block, int index) const {
    return Pixel(args, grid, block, index);
  }

  __device__ __forceinline__ Point point(
      const WarpArgs& args, const BlockPlace& block, const Pixel& pixel, int) const {
    const PointStrides& step = args.points_strides;
    const int64_t at = block.image * step.image + pixel.row * step.row + pixel.column * step.column;
    return {args.points_element == Element::kFloat64 ? read<double>(args.points, at, step.axis)
                                                     : read<float>(args.points, at, step.axis)};
  }

  template <typename P>
  static __device__ __forceinline__ IndexPoint read(const void* points, int64_t at, int64_t axis) {
    const P* point = static_cast<const P*>(points) + at;
    return given_point(static_cast<double>(point[0]), static_cast<double>(point[axis]));
  }
};

// Columns, or rows, that a point reads.
template <int K, typename A>
struct AxisTaps {
  int32_t index[K];  // inside of the image, whether read or not
  A weight[K];       // 0 outside
  A slope[K];        // derivative of the weight to the coordinate
  unsigned inside;   // one bit a tap

  // Of a weight that is not 0: others are not read, so that an identity keeps infinite neighbours out.
  __device__ __forceinline__ unsigned weighty() const {
    unsigned bits = 0;
    for (int k = 0; k < K; ++k) bits |= weight[k] != 0 ? 1u << k : 0u;
    return bits;
  }
};

struct Inside {
  double at, slope;
};

__device__ __attribute__((noinline)) inline Inside bring_inside(WarpPadding padding, double x, double size) {
  Inside out{x, 1};
  if (padding == WarpPadding::kBorder) out.at = bring_inside<WarpPadding::kBorder>(x, size, out.slope);
  if (padding == WarpPadding::kReflection) out.at = bring_inside<WarpPadding::kReflection>(x, size, out.slope);
  return out;
}

template <bool kSlopes, int K, typename A>
__device__ __forceinline__ void find_taps(WarpPadding padding, double x, int64_t length, AxisTaps<K, A>& taps) {
  constexpr int kBefore = K == 4 ? 1 : 0;  // taps before the pixel at or left of the point
  const double size = static_cast<double>(length), last = size - 1;
  double at = K == 4 ? floor(x) : x, turn = 1;
  const bool easy = K == 4 ? at >= 1 && at <= last - 2 : x > 0 && x < last;  // nothing to bring inside; no NaN
  if (!easy) {
    at = x = finite_or_nan(x);
    if constexpr (K == 4) {
      at = floor(x);
    } else if (padding != WarpPadding::kZeros) {
      const Inside inside = bring_inside(padding, x, size);
      at = inside.at;
      turn = inside.slope;
    }
  }
  const double low = K == 1 ? rint(at) : K == 2 ? floor(at) : at, part = (K == 4 ? x : at) - low;
  // Both ways from the double: the smaller of the two weights keeps all of its digits.
  const A t = static_cast<A>(part), s = static_cast<A>(1 - part);
  if constexpr (K == 1) {
    taps.weight[0] = 1;
    taps.slope[0] = 0;
  } else if constexpr (K == 2) {
    taps.weight[0] = s;
    taps.weight[1] = t;
    taps.slope[0] = static_cast<A>(-turn);
    taps.slope[1] = static_cast<A>(turn);
  } else {
    // cubic_far(1 + t) and cubic_near(t), multiplied out so that floats lose nothing: of the far ones s and t are
    // factors.
    constexpr A kFar = static_cast<A>(kCubic), kNear2 = static_cast<A>(kCubic + 3), kNear3 = static_cast<A>(kCubic + 2);
    taps.weight[0] = kFar * t * s * s;
    taps.weight[1] = 1 - t * t * (kNear2 - kNear3 * t);
    taps.weight[2] = 1 - s * s * (kNear2 - kNear3 * s);
    taps.weight[3] = kFar * s * t * t;
    if constexpr (kSlopes) {
      taps.slope[0] = kFar * s * (s - 2 * t);
      taps.slope[1] = t * (3 * kNear3 * t - 2 * kNear2);
      taps.slope[2] = s * (2 * kNear2 - 3 * kNear3 * s);
      taps.slope[3] = kFar * t * (2 * s - t);
    }
  }
  taps.inside = (1u << K) - 1;
  if (easy) {
    for (int k = 0; k < K; ++k) taps.index[k] = static_cast<int32_t>(low) + (k - kBefore);
    return;
  }
  for (int k = 0; k < K; ++k) {
    double position = low + (k - kBefore);
    if (K == 4 && padding != WarpPadding::kZeros) position = bring_inside(padding, position, size).at;
    const bool inside = position >= 0 && position <= last;  // false for NaN
    taps.index[k] = static_cast<int32_t>(inside ? position : 0.0);
    taps.weight[k] = inside ? taps.weight[k] : A(0);
    if constexpr (kSlopes) taps.slope[k] = inside ? taps.slope[k] : A(0);
    taps.inside &= ~(inside ? 0u : 1u << k);
  }
}

// Bit a * K + b: row a and column b are both among the bits of theirs.
template <int K>
__device__ __forceinline__ unsigned cross(unsigned rows, unsigned columns) {
  unsigned bits = 0;
  for (int a = 0; a < K; ++a) bits |= rows >> a & 1u ? columns << a * K : 0u;
  return bits;
}

// Where the rows of a thread's group of lanes in a block lie: 2^k lanes that share pixels and divide packs of channels.
struct LaneGroup {
  int lanes, lane, first_thread;
  int pixels, first_pixel;  // of the tile; no more than lanes

  __device__ __forceinline__ LaneGroup(const WarpGrid& grid, int lanes) : lanes(lanes) {
    const int group = static_cast<int>(threadIdx.x) / lanes, groups = kThreads / lanes;
    lane = static_cast<int>(threadIdx.x) % lanes;
    first_thread = group * lanes;
    pixels = (grid.tile_height * grid.tile_width + groups - 1) / groups;
    first_pixel = group * pixels;
  }
};

// A point of the group's pixels.
struct PointOfGroup {
  int owner;   // lane whose pixel it belongs to
  int number;  // among the points of that pixel
};

// Point `job` of the pixels of a group, whose lanes hold at which point their pixel ends. All lanes have to come.
__device__ __forceinline__ PointOfGroup find_point(const LaneGroup& group, int end, int count, int job) {
  int owner = 0;
  for (int step = group.lanes / 2; step > 0; step /= 2) {
    const int passed = __shfl_sync(0xffffffffu, end, owner + step - 1, group.lanes);
    owner += passed <= job ? step : 0;
  }
  const int first = __shfl_sync(0xffffffffu, end - count, owner, group.lanes);
  return {owner, job - first};
}

// Sum of the counts of a group's lanes up to and with the own.
__device__ __forceinline__ int running_sum(const LaneGroup& group, int count) {
  for (int step = 1; step < group.lanes; step *= 2) {
    const int before = __shfl_up_sync(0xffffffffu, count, step, group.lanes);
    count += group.lane >= step ? before : 0;
  }
  return count;
}

__device__ __forceinline__ int largest_of_warp(int value) {
  for (int bits = 16; bits > 0; bits /= 2) {
    const int other = __shfl_xor_sync(0xffffffffu, value, bits);
    value = value > other ? value : other;
  }
  return value;
}

// Lanes that divide the packs of a range of channels.
template <typename T>
inline int lanes_for(const WarpGrid& grid, int64_t channels) {
  const int64_t packs = (grid.channels < channels ? grid.channels : channels) / kWidest<T>;
  int lanes = 1;
  while (lanes < 32 && lanes < packs) lanes *= 2;
  return lanes;
}

// Whether the channels of an image lie side by side in packs of 16 bytes.
template <typename T>
inline bool has_packs(const void* data, const Strides& strides, int64_t channels) {
  constexpr int64_t kPack = kWidest<T>;
  return strides.channel == 1 && strides.row % kPack == 0 && strides.column % kPack == 0 &&
         strides.image % kPack == 0 && fits_packs<T>(data, channels);
}

// Calls visit(T(), taps) with the type of the elements and the number of taps an axis as a constant.
template <typename Visit>
inline void for_element_and_taps(const WarpArgs& args, const Visit& visit) {
  for_element(args.element, [&](auto element) {
    switch (args.mode) {
      case WarpMode::kNearest: return visit(element, std::integral_constant<int, 1>());
      case WarpMode::kBilinear: return visit(element, std::integral_constant<int, 2>());
      case WarpMode::kBicubic: return visit(element, std::integral_constant<int, 4>());
    }
  });
}

}  // namespace stn_det::cuda
