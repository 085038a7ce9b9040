// Where a tile of destination pixels reads, for files compiled once per instruction set.
//
// A pixel has one point, or a regular grid of them where antialiasing asks for it; a point has K columns and K rows (1
// nearest, 2 bilinear, 4 bicubic) whose weights multiply. Coordinates are float64 for every dtype: they cost once per
// point and not per channel, and float32 leaves 1/4096 of a pixel at column 4096, which is the noise of a gradient.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <limits>

#include "../entry/warp_sample.h"

namespace stn_det::STN_DET_ISA {

constexpr int64_t kTile = 64;              // pixels along a side of a tile
constexpr int64_t kPoints = kTile * kTile;  // of a tile at most
constexpr int64_t kPitch = kPoints + 16;   // so that the arrays do not all begin in the same set of the cache
constexpr double kMostPerAxis = 16;        // points of a pixel along an axis of the destination
constexpr double kStretch = 1.0 / 1024;    // a step that much longer than n source pixels still takes n points
constexpr double kDepth = 1e-6;            // least depth, as a part of the greatest that the destination may have

// Destination to source. A matrix that is not finite leads nowhere: its depth is never enough.
struct PointMap {
  double m[9];
  double least_depth;
  bool projective;
};

inline PointMap read_map(const WarpArgs& args, int64_t image) {
  PointMap map{{0, 0, 0, 0, 0, 0, 0, 0, 1}, 0, false};
  const double* matrix = args.matrix + image * args.matrix_rows * 3;
  bool finite = true;
  for (int64_t i = 0; i < args.matrix_rows * 3; ++i) {
    map.m[i] = matrix[i];
    finite = finite && std::isfinite(matrix[i]);
  }
  if (!finite) return {{}, 0, true};
  const double* last = map.m + 6;
  map.least_depth = kDepth * (std::abs(last[0]) * static_cast<double>(args.out_width) +
                              std::abs(last[1]) * static_cast<double>(args.out_height) + std::abs(last[2]));
  map.projective = !(last[0] == 0 && last[1] == 0 && last[2] == 1);
  return map;
}

struct Tile {
  int64_t top, left, height, width;
};

// Points of a pixel along one axis of the destination, from the source vector of one step along it. The largest count
// stands for vectors that are not finite or too long.
inline int64_t points_along(double dx, double dy) {
  const double length = std::sqrt(dx * dx + dy * dy);
  if (length <= 1 + kStretch) return 1;
  if (!(length < kMostPerAxis)) return static_cast<int64_t>(kMostPerAxis);
  return static_cast<int64_t>(std::ceil(length - kStretch));
}

// Counts along x and y of the destination pixel around (x, y).
inline void count_points(const PointMap& map, double x, double y, int64_t& along_x, int64_t& along_y) {
  const double* m = map.m;
  along_x = along_y = 1;
  const double depth = m[6] * x + m[7] * y + m[8];
  if (!(depth > map.least_depth)) return;
  const double u = (m[0] * x + m[1] * y + m[2]) / depth, v = (m[3] * x + m[4] * y + m[5]) / depth;
  along_x = points_along((m[0] - u * m[6]) / depth, (m[3] - v * m[6]) / depth);
  along_y = points_along((m[1] - u * m[7]) / depth, (m[4] - v * m[7]) / depth);
}

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
            to_x[size] = x0 + ((static_cast<double>(k) + 0.5) / static_cast<double>(across) - 0.5);
            to_y[size] = y0 + ((static_cast<double>(l) + 0.5) / static_cast<double>(down) - 0.5);
          }
        }
      }
    }
    return true;
  }

  __attribute__((noinline)) void locate(const PointMap& map) {
    const double* m = map.m;
    if (!map.projective) {
      for (int64_t i = 0; i < size; ++i) {
        x[i] = (m[0] * to_x[i] + m[1] * to_y[i] + m[2]) - 0.5;
        y[i] = (m[3] * to_x[i] + m[4] * to_y[i] + m[5]) - 0.5;
        inverse_depth[i] = 1;
      }
      return;
    }
    constexpr double kNowhere = std::numeric_limits<double>::quiet_NaN();
    for (int64_t i = 0; i < size; ++i) {
      const double depth = m[6] * to_x[i] + m[7] * to_y[i] + m[8];
      const double u = (m[0] * to_x[i] + m[1] * to_y[i] + m[2]) / depth;
      const double v = (m[3] * to_x[i] + m[4] * to_y[i] + m[5]) / depth;
      const double inverse = 1 / depth;
      const bool before = depth > map.least_depth;
      x[i] = before ? u - 0.5 : kNowhere;
      y[i] = before ? v - 0.5 : kNowhere;
      inverse_depth[i] = before ? inverse : 0;
    }
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

// A coordinate brought into the image, and the derivative of that; as torch's grid_sample with align_corners=False,
// which gives a point beyond the first or last centre no slope.
template <WarpPadding P>
inline double bring_inside(double x, double size, double& slope) {
  slope = 1;
  if constexpr (P == WarpPadding::kZeros) return x;
  if constexpr (P == WarpPadding::kReflection) {
    const double period = 2 * size, shifted = x + 0.5;
    const double rest = shifted - period * std::floor(shifted / period);
    const bool turned = rest > size;
    x = (turned ? period - rest : rest) - 0.5;
    slope = turned ? -1.0 : 1.0;
  }
  const double last = size - 1;
  slope = (x > 0) & (x < last) ? slope : 0.0;
  x = x < 0 ? 0 : x;  // written so that NaN stays
  return x > last ? last : x;
}

// Convolution kernel of Keys (1981) with A = -0.75: the pixel at distance d in [0, 1], or in [1, 2], and the
// derivatives.
constexpr double kCubic = -0.75;
inline double cubic_near(double d) { return ((kCubic + 2) * d - (kCubic + 3)) * d * d + 1; }
inline double cubic_far(double d) { return ((kCubic * d - 5 * kCubic) * d + 8 * kCubic) * d - 4 * kCubic; }
inline double cubic_near_slope(double d) { return (3 * (kCubic + 2) * d - 2 * (kCubic + 3)) * d; }
inline double cubic_far_slope(double d) { return (3 * kCubic * d - 10 * kCubic) * d + 8 * kCubic; }

// `slopes`: for a gradient to the coordinates, which needs pixels of weight 0 too. Without it they are not read, so
// that an identity keeps infinite neighbours out.
template <typename A, int K, WarpPadding P>
void find_taps(const double* at, int64_t count, int64_t length, bool slopes, WarpTaps<A, K>& taps) {
  const double size = static_cast<double>(length), last = size - 1;
  for (int64_t i = 0; i < count; ++i) {
    const double x = std::abs(at[i]) <= DBL_MAX ? at[i] : std::numeric_limits<double>::quiet_NaN();
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
