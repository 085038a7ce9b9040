// What the host code and the kernels share of the fused warp and of reading at given points, which is the same but for
// where the points come from.
//
// Letters: N images, C channels, (H, W) size of the source, (h, w) size of the destination.
#pragma once

#include <cstdint>

#include "machine.h"

namespace stn_det {

enum class WarpMode : int64_t { kBilinear, kNearest, kBicubic };
enum class WarpPadding : int64_t { kZeros, kBorder, kReflection };

// Strides of (N, C, H, W) in elements. The kernels want 1 for the columns or for the channels.
struct Strides {
  int64_t image, channel, row, column;
};

// Strides of points (N, h, w, 2) in elements; 0 where they repeat.
struct PointStrides {
  int64_t image, row, column, axis;
};

// Coordinates and the sums for the matrix are float64; weights and sums over pixels are float64 where the input is
// float64, else float32.
struct WarpArgs : Machine {
  int64_t images, channels, height, width, out_height, out_width;
  int64_t matrix_rows;        // 2 or 3
  WarpMode mode;
  WarpPadding padding;
  bool antialias;
  Element element;            // of all tensors but the matrices and points
  const void* input;          // (N, C, H, W)
  Strides input_strides;
  const double* matrix;       // (N, 2 or 3, 3), destination to source; null where there are points
  void* output;               // (N, C, h, w), forward only
  Strides output_strides;
  const void* grad_output;    // (N, C, h, w), backward only
  Strides grad_output_strides;
  void* grad_input;           // (N, C, H, W), or null
  Strides grad_input_strides;
  double* grad_matrix;        // as matrix, or null
  // CUDA:
  void* sums;                 // zeros: grad_input's sums and layout, grad_input itself unless that is 16 bits wide
  double* partial_sums;       // (N, WarpGrid::blocks(), 9), of grad_matrix; null where it is or is 0
  // Instead of a matrix:
  const void* points;         // (N, h, w, 2), in the source, in continuous pixels
  PointStrides points_strides;
  Element points_element;     // float64 or float32
  void* grad_points;          // (N, h, w, 2) of the dtype of points, contiguous, or null
  double* partial_slopes;     // CUDA: (WarpGrid::parts, N, h, w, 2), of grad_points; null where there is one part
};

// How kernels of CUDA share an image out to blocks: tiles of the destination times ranges of channels. The rule goes by
// sizes alone, because the blocks decide the order of the sums for the matrix.
struct WarpGrid {
  static constexpr int64_t kThreads = 128;    // of a block; a tile has no more pixels
  static constexpr int64_t kChannels = 8;     // a range is a multiple of this: of the widest pack
  static constexpr int64_t kEnough = 2048;    // blocks that fill a GPU
  int32_t tile_height, tile_width;
  int64_t down, across, parts, channels;      // tiles, ranges of channels, channels of a range

  explicit WarpGrid(const WarpArgs& args) {
    const int64_t h = args.out_height, w = args.out_width;
    if (args.images == 0 || args.channels == 0 || h == 0 || w == 0) {
      tile_height = tile_width = 1;
      down = across = parts = channels = 0;
      return;
    }
    // Nearly square, so that a tile reads neighbours wherever the map turns it; small images whole.
    const int64_t low = h < 8 ? h : 8, wide = w < kThreads / low ? w : kThreads / low;
    const int64_t high = h < kThreads / wide ? h : kThreads / wide;
    tile_height = static_cast<int32_t>(high);
    tile_width = static_cast<int32_t>(wide);
    down = (h + high - 1) / high;
    across = (w + wide - 1) / wide;
    const int64_t tiles = args.images * down * across, most = (args.channels + kChannels - 1) / kChannels;
    parts = tiles >= kEnough ? 1 : (kEnough + tiles - 1) / tiles;
    parts = parts < most ? parts : most;
    channels = (most + parts - 1) / parts * kChannels;
    parts = (args.channels + channels - 1) / channels;
  }

  int64_t blocks() const { return down * across * parts; }
};

namespace baseline {
void warp_sample_forward(const WarpArgs& args);
void warp_sample_backward(const WarpArgs& args);
void remap_forward(const WarpArgs& args);
void remap_backward(const WarpArgs& args);
}  // namespace baseline

namespace avx2 {
void warp_sample_forward(const WarpArgs& args);
void warp_sample_backward(const WarpArgs& args);
void remap_forward(const WarpArgs& args);
void remap_backward(const WarpArgs& args);
}  // namespace avx2

namespace cuda {
void warp_sample_forward(const WarpArgs& args);
void warp_sample_backward(const WarpArgs& args);
void remap_forward(const WarpArgs& args);
void remap_backward(const WarpArgs& args);
}  // namespace cuda

}  // namespace stn_det
