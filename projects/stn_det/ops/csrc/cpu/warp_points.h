// Where a tile of destination pixels reads, for files compiled once per instruction set.
//
// A pixel has one point, or a regular grid of them where antialiasing asks for it, through a matrix; or it has the
// point that is given for it. A point has K columns and K rows (1 nearest, 2 bilinear, 4 bicubic) whose weights
// multiply.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "../common/warp_map.h"

namespace stn_det::STN_DET_ISA {

constexpr int64_t kTile = 64;              // pixels along a side of a tile
constexpr int64_t kPoints = kTile * kTile;  // of a tile at most
constexpr int64_t kPitch = kPoints + 16;   // so that the arrays do not all begin in the same set of the cache

struct Tile {
  int64_t top, left, height, width;
};

// The points of a tile.
struct Points {
  int64_t size;
  double to_x[kPitch], to_y[kPitch];  // in the destination
  double x[kPitch], y[kPitch];        // in the source, as indices: 0 is the centre of the first pixel; NaN: nowhere
  double inverse_depth[kPitch];       // 0 where the point lies nowhere
  int32_t count[kPoints];             // of each pixel, row by row

  // False when they are too many.
  __attribute__((noinline)) bool spread(const PointMap& map, const Tile& tile, bool antialias) {
    size = 0;
    int64_t pixel = 0;
    for (int64_t row = tile.top; row < tile.top + tile.height; ++row) {
      const double y0 = static_cast<double>(row) + 0.5;
      if (!antialias) {
        for (int64_t i = 0; i < tile.width; ++i) {
          to_x[size + i] = static_cast<double>(tile.left + i) + 0.5;
          to_y[size + i] = y0;
          count[size + i] = 1;
        }
        size += tile.width;
        continue;
      }
      for (int64_t i = 0; i < tile.width; ++i) {
        const double x0 = static_cast<double>(tile.left + i) + 0.5;
        int64_t across, down;
        count_points(map, x0, y0, across, down);
        if (size + across * down > kPoints) return false;
        count[pixel++] = static_cast<int32_t>(across * down);
        for (int64_t l = 0; l < down; ++l) {
          for (int64_t k = 0; k < across; ++k, ++size) {
            to_x[size] = x0 + part_of_pixel(k, across);
            to_y[size] = y0 + part_of_pixel(l, down);
          }
        }
      }
    }
    return true;
  }

  __attribute__((noinline)) void locate(const PointMap& map) {
    if (!map.projective) {
      for (int64_t i = 0; i < size; ++i) put(i, locate_affine(map.m, to_x[i], to_y[i]));
      return;
    }
    for (int64_t i = 0; i < size; ++i) put(i, locate_projective(map, to_x[i], to_y[i]));
  }

  // Those that are given for the pixels.
  __attribute__((noinline)) void read(const WarpArgs& args, int64_t image, const Tile& tile) {
    args.points_element == Element::kFloat64 ? read(static_cast<const double*>(args.points), args, image, tile)
                                             : read(static_cast<const float*>(args.points), args, image, tile);
  }

  template <typename P>
  void read(const P* points, const WarpArgs& args, int64_t image, const Tile& tile) {
    const PointStrides& step = args.points_strides;
    size = 0;
    for (int64_t row = tile.top; row < tile.top + tile.height; ++row, size += tile.width) {
      const P* line = points + image * step.image + row * step.row + tile.left * step.column;
      for (int64_t i = 0; i < tile.width; ++i) {
        const P* point = line + i * step.column;
        const IndexPoint at = given_point(static_cast<double>(point[0]), static_cast<double>(point[step.axis]));
        x[size + i] = at.x;
        y[size + i] = at.y;
        count[size + i] = 1;
      }
    }
  }

  void put(int64_t i, const SourcePoint& point) {
    x[i] = point.x;
    y[i] = point.y;
    inverse_depth[i] = point.inverse_depth;
  }
};

// Columns, or rows, that the points read: index, weight and its derivative to the coordinate. Index -1: nothing to
// read.
template <typename A, int K>
struct WarpTaps {
  int32_t index[K][kPitch];
  A weight[K][kPitch];
  A slope[K][kPitch];
};

// `slopes`: for a gradient to the coordinates, which needs pixels of weight 0 too. Without it they are not read, so
// that an identity keeps infinite neighbours out.
template <typename A, int K, WarpPadding P>
void find_taps(const double* at, int64_t count, int64_t length, bool slopes, WarpTaps<A, K>& taps) {
  const double size = static_cast<double>(length), last = size - 1;
  for (int64_t i = 0; i < count; ++i) {
    const double x = finite_or_nan(at[i]);
    double position[K], weight[K], slope[K], turn;
    if constexpr (K == 1) {
      position[0] = std::nearbyint(bring_inside<P>(x, size, turn));
      weight[0] = 1;
      slope[0] = 0;
    } else if constexpr (K == 2) {
      const double inside = bring_inside<P>(x, size, turn), low = std::floor(inside), part = inside - low;
      position[0] = low;
      position[1] = low + 1;
      weight[0] = 1 - part;
      weight[1] = part;
      slope[0] = -turn;
      slope[1] = turn;
    } else {
      const double low = std::floor(x), part = x - low;
      for (int k = 0; k < 4; ++k) position[k] = bring_inside<P>(low + (k - 1), size, turn);
      weight[0] = cubic_far(1 + part);
      weight[1] = cubic_near(part);
      weight[2] = cubic_near(1 - part);
      weight[3] = cubic_far(2 - part);
      slope[0] = cubic_far_slope(1 + part);
      slope[1] = cubic_near_slope(part);
      slope[2] = -cubic_near_slope(1 - part);
      slope[3] = -cubic_far_slope(2 - part);
    }
    for (int k = 0; k < K; ++k) {
      const bool inside = (position[k] >= 0) & (position[k] <= last);  // false for NaN
      const bool read = inside & (slopes | (weight[k] != 0));
      taps.index[k][i] = static_cast<int32_t>(read ? position[k] : -1.0);
      taps.weight[k][i] = static_cast<A>(inside ? weight[k] : 0.0);
      if (slopes) taps.slope[k][i] = static_cast<A>(inside ? slope[k] : 0.0);
    }
  }
}

template <typename A, int K>
__attribute__((noinline)) void find_taps(
    WarpPadding padding, const double* at, int64_t count, int64_t length, bool slopes, WarpTaps<A, K>& taps) {
  switch (padding) {
    case WarpPadding::kZeros: return find_taps<A, K, WarpPadding::kZeros>(at, count, length, slopes, taps);
    case WarpPadding::kBorder: return find_taps<A, K, WarpPadding::kBorder>(at, count, length, slopes, taps);
    case WarpPadding::kReflection: return find_taps<A, K, WarpPadding::kReflection>(at, count, length, slopes, taps);
  }
}

// First index and number of indices that the taps span; 0 when they read nothing.
template <typename A, int K>
void find_span(const WarpTaps<A, K>& taps, int64_t count, int64_t& first, int64_t& length) {
  uint32_t low = std::numeric_limits<uint32_t>::max();  // -1 is the largest of all
  int32_t high = -1;
  for (int k = 0; k < K; ++k) {
    for (int64_t i = 0; i < count; ++i) {
      low = std::min(low, static_cast<uint32_t>(taps.index[k][i]));
      high = std::max(high, taps.index[k][i]);
    }
  }
  first = high < 0 ? 0 : low;
  length = high < 0 ? 0 : high + 1 - first;
}

}  // namespace stn_det::STN_DET_ISA
