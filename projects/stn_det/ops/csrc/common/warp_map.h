// Where points of the destination lie in the source of a warp, and what surrounds them: arithmetic of one point, in
// double for every dtype. It costs once per point and not per channel, and float leaves 1/4096 of a pixel at column
// 4096, which is the noise of a gradient.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>
#include <limits>

#include "../entry/warp_sample.h"
#include "numbers.h"

namespace stn_det::STN_DET_ISA {

constexpr double kMostPerAxis = 16;        // points of a pixel along an axis of the destination
constexpr double kStretch = 1.0 / 1024;    // a step that much longer than n source pixels still takes n points
constexpr double kDepth = 1e-6;            // least depth, as a part of the greatest that the destination may have

// Destination to source. A matrix that is not finite leads nowhere: its depth is never enough.
struct PointMap {
  double m[9];
  double least_depth;
  bool projective;
};

STN_DET_INLINE PointMap read_map(const WarpArgs& args, int64_t image) {
  PointMap map{{0, 0, 0, 0, 0, 0, 0, 0, 1}, 0, false};
  const double* matrix = args.matrix + image * args.matrix_rows * 3;
  bool finite = true;
  for (int64_t i = 0; i < 9; ++i) {  // 9, so that a GPU keeps the map in registers
    if (i >= args.matrix_rows * 3) break;
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

// Points of a pixel along one axis of the destination, from the source vector of one step along it. The largest count
// stands for vectors that are not finite or too long.
STN_DET_INLINE int64_t points_along(double dx, double dy) {
  const double length = std::sqrt(dx * dx + dy * dy);
  if (length <= 1 + kStretch) return 1;
  if (!(length < kMostPerAxis)) return static_cast<int64_t>(kMostPerAxis);
  return static_cast<int64_t>(std::ceil(length - kStretch));
}

// Counts along x and y of the destination pixel around (x, y).
STN_DET_INLINE void count_points(const PointMap& map, double x, double y, int64_t& along_x, int64_t& along_y) {
  const double* m = map.m;
  along_x = along_y = 1;
  const double depth = m[6] * x + m[7] * y + m[8];
  if (!(depth > map.least_depth)) return;
  const double u = (m[0] * x + m[1] * y + m[2]) / depth, v = (m[3] * x + m[4] * y + m[5]) / depth;
  along_x = points_along((m[0] - u * m[6]) / depth, (m[3] - v * m[6]) / depth);
  along_y = points_along((m[1] - u * m[7]) / depth, (m[4] - v * m[7]) / depth);
}

// Point k of `count` along a side of a pixel, from the pixel's centre.
STN_DET_INLINE double part_of_pixel(int64_t k, int64_t count) {
  return (static_cast<double>(k) + 0.5) / static_cast<double>(count) - 0.5;
}

// A point of the source, as indices: 0 is the centre of the first pixel; NaN: nowhere.
struct SourcePoint {
  double x, y;
  double inverse_depth;  // 0 where the point lies nowhere
};

STN_DET_INLINE SourcePoint locate_affine(const double* m, double x, double y) {
  return {(m[0] * x + m[1] * y + m[2]) - 0.5, (m[3] * x + m[4] * y + m[5]) - 0.5, 1};
}

STN_DET_INLINE SourcePoint locate_projective(const PointMap& map, double x, double y) {
  constexpr double kNowhere = std::numeric_limits<double>::quiet_NaN();
  const double* m = map.m;
  const double depth = m[6] * x + m[7] * y + m[8];
  const double u = (m[0] * x + m[1] * y + m[2]) / depth;
  const double v = (m[3] * x + m[4] * y + m[5]) / depth;
  const double inverse = 1 / depth;
  const bool before = depth > map.least_depth;
  return {before ? u - 0.5 : kNowhere, before ? v - 0.5 : kNowhere, before ? inverse : 0};
}

// NaN for coordinates that overflowed.
STN_DET_INLINE double finite_or_nan(double x) {
  return std::abs(x) <= DBL_MAX ? x : std::numeric_limits<double>::quiet_NaN();
}

// A point that is given in continuous pixels, as indices. One that is not finite leads nowhere, with both coordinates.
struct IndexPoint {
  double x, y;
};

STN_DET_INLINE IndexPoint given_point(double x, double y) {
  constexpr double kNowhere = std::numeric_limits<double>::quiet_NaN();
  const bool finite = (std::abs(x) <= DBL_MAX) & (std::abs(y) <= DBL_MAX);
  return {finite ? x - 0.5 : kNowhere, finite ? y - 0.5 : kNowhere};
}

// A coordinate brought into the image, and the derivative of that; as torch's grid_sample with align_corners=False,
// which gives a point beyond the first or last centre no slope.
template <WarpPadding P>
STN_DET_INLINE double bring_inside(double x, double size, double& slope) {
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
STN_DET_INLINE double cubic_near(double d) { return ((kCubic + 2) * d - (kCubic + 3)) * d * d + 1; }
STN_DET_INLINE double cubic_far(double d) {
  return ((kCubic * d - 5 * kCubic) * d + 8 * kCubic) * d - 4 * kCubic;
}
STN_DET_INLINE double cubic_near_slope(double d) { return (3 * (kCubic + 2) * d - 2 * (kCubic + 3)) * d; }
STN_DET_INLINE double cubic_far_slope(double d) { return (3 * kCubic * d - 10 * kCubic) * d + 8 * kCubic; }

}  // namespace stn_det::STN_DET_ISA
