// The part of an image that a tile of points reads, with a block of channels side by side, for files compiled once per
// instruction set. See warp_points.h for where a pixel reads.
//
// The points of a tile become columns, rows and weights once for all channels; the part of the source that they span is
// copied with 8 or 16 channels of a pixel side by side (the frame), so that a pixel is read in whole vectors wherever
// it lies. One column and one row of zeros at the end of the frame stand for all that is not read. Where the points lie
// far apart, each gets its K x K pixels copied instead.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>

#include "../entry/warp_sample.h"
#include "pixel_blocks.h"
#include "warp_points.h"

namespace stn_det::STN_DET_ISA {

// A rectangle of the source in memory, followed by a column and a row of zeros.
struct SourceFrame {
  int64_t top, left, height, width;

  bool exists() const { return height >= 0; }
  int64_t pitch() const { return width + 1; }
  int64_t pixels() const { return (height + 1) * (width + 1); }
};

template <typename A, int K>
struct Workspace {
  Points points;
  WarpTaps<A, K> x, y;
  // Of a point's pixels in the copy, rows times its pitch: the sum is a pixel.
  int32_t column[K][kPitch], row[K][kPitch];
  double slope_x[kPitch], slope_y[kPitch], slope_depth[kPitch];
  GrowingBuffer<A> pixels, sums, line;
};

// Rows and columns of equal tiles of at most `side` x `side` pixels, their widths in whole vectors.
struct Tiling {
  int64_t height, width, down, across;

  explicit Tiling(const WarpArgs& args, int64_t side = kTile) {
    down = (args.out_height + side - 1) / side;
    across = (args.out_width + side - 1) / side;
    height = down == 0 ? 0 : (args.out_height + down - 1) / down;
    width = across == 0 ? 0 : ((args.out_width + across - 1) / across + 7) / 8 * 8;
  }

  Tile at(const WarpArgs& args, int64_t row, int64_t column) const {
    const int64_t top = row * height, left = column * width;
    const int64_t rest = std::max<int64_t>(0, args.out_width - left);
    return {top, left, std::min(height, args.out_height - top), std::min(width, rest)};
  }
};

template <typename T>
Planes<const T> image_of(const void* data, const Strides& strides, int64_t image) {
  return {static_cast<const T*>(data) + image * strides.image, strides.channel, strides.row, strides.column};
}

template <typename T>
Planes<T> image_of(void* data, const Strides& strides, int64_t image) {
  return {static_cast<T*>(data) + image * strides.image, strides.channel, strides.row, strides.column};
}

// Finds points and taps of a tile. False when its points are too many: then `visit` has been called with its halves.
template <typename A, int K, typename Visit>
bool prepare(
    const WarpArgs& args, int64_t image, const Tile& tile, bool slopes, Workspace<A, K>& work, const Visit& visit) {
  Points& points = work.points;
  if (args.points != nullptr) {
    points.read(args, image, tile);
  } else if (const PointMap map = read_map(args, image); points.spread(map, tile, args.antialias)) {
    points.locate(map);
  } else {
    Tile first = tile, second = tile;
    if (tile.height >= tile.width) {
      first.height = tile.height / 2;
      second.top += first.height;
      second.height -= first.height;
    } else {
      first.width = tile.width / 2;
      second.left += first.width;
      second.width -= first.width;
    }
    visit(first);
    visit(second);
    return false;
  }
  find_taps<A, K>(args.padding, points.x, points.size, args.width, slopes, work.x);
  find_taps<A, K>(args.padding, points.y, points.size, args.height, slopes, work.y);
  return true;
}

// The smallest frame, widened to whole vectors; height -1 where the points lie too far apart for one.
template <typename A, int K>
__attribute__((noinline)) SourceFrame find_frame(const WarpArgs& args, const Workspace<A, K>& work) {
  SourceFrame frame;
  find_span(work.x, work.points.size, frame.left, frame.width);
  find_span(work.y, work.points.size, frame.top, frame.height);
  const int64_t right = std::min(args.width, (frame.left + frame.width + 7) / 8 * 8);
  frame.left = frame.left / 8 * 8;
  frame.width = frame.width == 0 ? 0 : right - frame.left;
  // Copying a pixel for one point alone costs about eight times as much as in a row; 2^18 pixels fill a cache.
  constexpr int64_t kMost = int64_t{1} << 18;
  const bool close = frame.height <= kMost && frame.width <= kMost &&
                     frame.pixels() <= std::min(kMost, 8 * K * K * work.points.size + 1024);
  if (!close) frame.height = -1;
  return frame;
}

// Finds the pixels of the points in the copy: in the frame, or K x K for each point where there is none.
template <typename A, int K>
__attribute__((noinline)) void place_taps(const SourceFrame& frame, Workspace<A, K>& work) {
  const int32_t left = static_cast<int32_t>(frame.left), top = static_cast<int32_t>(frame.top);
  const int32_t pitch = static_cast<int32_t>(frame.pitch());
  const int32_t no_column = static_cast<int32_t>(frame.width), no_row = static_cast<int32_t>(frame.height) * pitch;
  for (int k = 0; k < K; ++k) {
    for (int64_t i = 0; i < work.points.size; ++i) {
      const int32_t column = work.x.index[k][i], row = work.y.index[k][i];
      work.column[k][i] = !frame.exists() ? k : column < 0 ? no_column : column - left;
      work.row[k][i] = !frame.exists() ? (static_cast<int32_t>(i) * K + k) * K : row < 0 ? no_row : (row - top) * pitch;
    }
  }
}

template <typename T, typename A>
void copy_frame(const Planes<const T>& image, const SourceFrame& frame, int64_t channels, int64_t block, A* pixels) {
  for (int64_t row = 0; row < frame.height; ++row) {
    A* line = pixels + row * frame.pitch() * block;
    pack_row<T, A>(image, frame.top + row, frame.left, frame.width, channels, block, line);
    std::fill_n(line + frame.width * block, block, A(0));
  }
  std::fill_n(pixels + frame.height * frame.pitch() * block, frame.pitch() * block, A(0));
}

// The pixels of the points for a block of channels: the frame, or K x K pixels for each point where there is none.
template <typename T, typename A, int K>
A* copy_pixels(
    const Planes<const T>& image, const SourceFrame& frame, int64_t channels, int64_t block, Workspace<A, K>& work) {
  if (frame.exists()) {
    A* pixels = work.pixels.of(frame.pixels() * block);
    copy_frame<T, A>(image, frame, channels, block, pixels);
    return pixels;
  }
  A* pixels = work.pixels.of(work.points.size * K * K * block);
  A* pixel = pixels;
  for (int64_t i = 0; i < work.points.size; ++i) {
    for (int a = 0; a < K; ++a) {
      for (int b = 0; b < K; ++b, pixel += block) {
        const int64_t row = work.y.index[a][i], column = work.x.index[b][i];
        std::fill_n(pixel, block, A(0));
        if (row < 0 || column < 0) continue;
        const T* source = image.at(0, row, column);
        for (int64_t c = 0; c < channels; ++c) pixel[c] = widen<A>(source[c * image.channel]);
      }
    }
  }
  return pixels;
}

// What one point adds to the gradients: to `sums`, if any, and in the return values the lanes of those to its
// coordinates.
template <int V, int K, typename A>
__attribute__((always_inline)) inline void visit_sample(
    const Workspace<A, K>& work, const A* pixels, A* sums, int64_t i, const Vec<A>* grad, Vec<A>* slopes) {
  constexpr int64_t kBlock = V * kLanes<A>;
  if (sums != nullptr) {
    for (int a = 0; a < K; ++a) {
      for (int b = 0; b < K; ++b) {
        A* sum = sums + (int64_t{work.row[a][i]} + work.column[b][i]) * kBlock;
        const A weight = work.y.weight[a][i] * work.x.weight[b][i];
        for (int v = 0; v < V; ++v) {
          store<A>(sum + v * kLanes<A>, load<A>(sum + v * kLanes<A>) + grad[v] * weight);
        }
      }
    }
  }
  if (pixels == nullptr) return;
  Vec<A> along_x[V] = {}, along_y[V] = {};
  for (int a = 0; a < K; ++a) {
    Vec<A> line[V] = {}, slope[V] = {};
    for (int b = 0; b < K; ++b) {
      const A* pixel = pixels + (int64_t{work.row[a][i]} + work.column[b][i]) * kBlock;
      for (int v = 0; v < V; ++v) {
        const Vec<A> value = load<A>(pixel + v * kLanes<A>);
        line[v] += value * work.x.weight[b][i];
        slope[v] += value * work.x.slope[b][i];
      }
    }
    for (int v = 0; v < V; ++v) {
      along_x[v] += slope[v] * work.y.weight[a][i];
      along_y[v] += line[v] * work.y.slope[a][i];
    }
  }
  slopes[0] = along_x[0] * grad[0];
  slopes[1] = along_y[0] * grad[0];
  for (int v = 1; v < V; ++v) {
    slopes[0] += along_x[v] * grad[v];
    slopes[1] += along_y[v] * grad[v];
  }
}

// Runs body(task, workspace) for all tasks on the pool, each thread taking the next one that is left.
template <typename A, int K, typename Body>
void for_tasks(const WarpArgs& args, int64_t tasks, const Body& body) {
  std::atomic<int64_t> next{0};
  for_ranges(args.parallel_for, 0, std::min(args.threads, tasks), 1, [&](int64_t, int64_t) {
    const std::unique_ptr<Workspace<A, K>> work(new Workspace<A, K>);  // not cleared
    for (int64_t task = next++; task < tasks; task = next++) body(task, *work);
  });
}

// Calls run<V, K, T, A> for the arguments: V vectors of channels a block, K taps an axis. Two vectors, unless one holds
// all channels or the blocks would be few; the rule goes by sizes alone, because the blocks decide the order of the
// sums over channels.
template <typename T, typename A, typename Run>
void for_taps(const WarpArgs& args, const Run& run) {
  const bool wide = args.channels > kLanes<A> && args.images * args.channels >= 16 * kLanes<A>;
  const auto with = [&]<int K>() {
    wide ? run.template operator()<2, K, T, A>() : run.template operator()<1, K, T, A>();
  };
  switch (args.mode) {
    case WarpMode::kNearest: return with.template operator()<1>();
    case WarpMode::kBilinear: return with.template operator()<2>();
    case WarpMode::kBicubic: return with.template operator()<4>();
  }
}

template <typename Run>
void for_element_and_taps(const WarpArgs& args, const Run& run) {
  switch (args.element) {
    case Element::kFloat64: return for_taps<double, double>(args, run);
    case Element::kFloat32: return for_taps<float, float>(args, run);
    case Element::kFloat16: return for_taps<Float16, float>(args, run);
    case Element::kBFloat16: return for_taps<BFloat16, float>(args, run);
  }
}

}  // namespace stn_det::STN_DET_ISA
