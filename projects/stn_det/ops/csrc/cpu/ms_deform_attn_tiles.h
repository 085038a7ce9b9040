// The order in which attention takes its queries, and copies of the value in which that order finds its pixels
// together. Included by kernels only, once per instruction set.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "buffer.h"
#include "../entry/ms_deform_attn.h"
#include "ms_deform_attn_points.h"
#include "simd.h"

namespace stn_det::STN_DET_ISA {

constexpr int64_t kRunQueries = 8;  // whose corners in one level are found together
constexpr int64_t kTileRuns = 16;

// Asks for the cache lines of some elements. Not __builtin_prefetch, which gcc takes for nothing: it removes the loop.
template <typename T>
inline void prefetch_range(const T* first, int64_t count) {
  for (int64_t i = 0; i < count; i += 64 / static_cast<int64_t>(sizeof(T))) {
    asm volatile("prefetcht0 %0" : : "m"(first[i]));
  }
}

// Consecutive queries.
struct QueryRun {
  int64_t first, count;
};

// The queries of an image in the order they are worked through. Those of an encoder are the positions of its levels:
// they go in tiles of 8 x 16, because neighbours sample the same pixels. Others go one after the other.
class QueryTiles {
 public:
  QueryTiles(const AttentionArgs& args, int64_t runs_per_tile)
      : runs_(runs_of(args)), ends_(runs_of(args)) {
    if (!queries_are_positions(args)) {
      for (int64_t first = 0; first < args.queries; first += kRunQueries) {
        add_run({first, std::min(kRunQueries, args.queries - first)});
        if (run_count_ % runs_per_tile == 0) end_tile();
      }
      end_tile();
      return;
    }
    for (int64_t level = 0; level < args.levels; ++level) {
      const int64_t height = rows_of(args, level), width = columns_of(args, level);
      for (int64_t top = 0; top < height; top += runs_per_tile) {
        for (int64_t left = 0; left < width; left += kRunQueries) {
          for (int64_t y = top; y < std::min(height, top + runs_per_tile); ++y) {
            add_run({args.starts[level] + y * width + left, std::min(kRunQueries, width - left)});
          }
          end_tile();
        }
      }
    }
  }

  int64_t count() const { return tile_count_; }
  const QueryRun* begin(int64_t tile) const { return runs_.data() + (tile == 0 ? 0 : ends_[tile - 1]); }
  const QueryRun* end(int64_t tile) const { return runs_.data() + ends_[tile]; }

 private:
  static bool queries_are_positions(const AttentionArgs& args) {
    int64_t next = 0;
    for (int64_t level = 0; level < args.levels; ++level) {
      if (args.starts[level] != next) return false;
      next += rows_of(args, level) * columns_of(args, level);
    }
    return next == args.queries;
  }

  static int64_t runs_of(const AttentionArgs& args) {
    int64_t runs = (args.queries + kRunQueries - 1) / kRunQueries;
    if (!queries_are_positions(args)) return runs;
    runs = 0;
    for (int64_t level = 0; level < args.levels; ++level) {
      runs += rows_of(args, level) * ((columns_of(args, level) + kRunQueries - 1) / kRunQueries);
    }
    return runs;
  }

  void add_run(QueryRun run) { runs_[run_count_++] = run; }
  void end_tile() {
    if (run_count_ > (tile_count_ == 0 ? 0 : ends_[tile_count_ - 1])) ends_[tile_count_++] = run_count_;
  }

  Buffer<QueryRun> runs_;
  Buffer<int64_t> ends_;
  int64_t run_count_ = 0, tile_count_ = 0;
};

// The runs that come after a tile and head: those of the next head, or of the first head of the next tile. Their points
// are asked for while those of the tile are worked on; they lie too far apart for the processor to guess.
struct RunsAhead {
  const QueryRun *run, *end;
  int64_t head;

  RunsAhead(
      const QueryTiles& tiles, int64_t tile, int64_t last_tile, int64_t current, int64_t first_head, int64_t last_head)
      : run(nullptr), end(nullptr), head(current + 1 < last_head ? current + 1 : first_head) {
    if (current + 1 >= last_head && ++tile >= last_tile) return;
    run = tiles.begin(tile);
    end = tiles.end(tile);
  }

  bool empty() const { return run == end; }
};

// Levels of some heads with a border of zeros, head after head within a level, pixels of a head side by side, in the
// type that sums are kept in.
//
// Row r, column c of a level of H x W is pixel (r + 1) (W + 1) + c + 1: the zero behind a row is the one before the
// next. A row of zeros lies above, two lie below, so that a point far outside has four corners as well.
class PaddedMaps {
 public:
  PaddedMaps(const AttentionArgs& args, int64_t heads) : args_(args), before_(args.levels + 1) {
    for (int64_t level = 0; level < args.levels; ++level) before_[level + 1] = before_[level] + heads * pixels(level);
  }

  // Pixels of a level in one head.
  int64_t pixels(int64_t level) const { return padded_pixels(args_, level); }

  // Elements of all heads of levels `first` to `last`, the last not included.
  int64_t size(int64_t first, int64_t last) const { return (before_[last] - before_[first]) * args_.channels; }

  // First element of a level and head, in memory that begins with `first_level`.
  int64_t at(int64_t first_level, int64_t level, int64_t head) const {
    return (before_[level] - before_[first_level] + head * pixels(level)) * args_.channels;
  }

  // Fills in line `y` of a level: a row of the value, or at `y` = H the zeros below. `from` is the first element of the
  // level and head in the value.
  template <typename T, typename A>
  void copy_line(const T* from, int64_t level, int64_t y, A* map) const {
    const int64_t channels = args_.channels, step = width(level) + 1, stride = args_.heads * channels;
    if (y == 0) zero(map, step * channels);
    A* line = map + (y + 1) * step * channels;
    if (y == height(level)) {
      zero(line, (pixels(level) - (y + 1) * step) * channels);
      return;
    }
    zero(line, channels);
    from += y * width(level) * stride;
    for (int64_t x = 0; x < width(level); ++x) {
      widen_all(from + x * stride, channels, line + (x + 1) * channels);
    }
  }

  // The other way: the pixels of a level and head, without the border.
  template <typename A>
  void copy_back(const A* map, int64_t level, A* to) const {
    const int64_t channels = args_.channels, step = width(level) + 1, stride = args_.heads * channels;
    for (int64_t y = 0; y < height(level); ++y) {
      const A* line = map + ((y + 1) * step + 1) * channels;
      for (int64_t x = 0; x < width(level); ++x, to += stride) {
        widen_all(line + x * channels, channels, to);
      }
    }
  }

  int64_t height(int64_t level) const { return rows_of(args_, level); }
  int64_t width(int64_t level) const { return columns_of(args_, level); }

 private:
  template <typename A>
  static void zero(A* first, int64_t count) {
    std::fill_n(first, count, A(0));
  }

  // Not memcpy, whose call costs as much as the 32 channels of a pixel.
  template <typename T, typename A>
  static void widen_all(const T* from, int64_t count, A* to) {
    int64_t i = 0;
    for (; i + kLanes<A> <= count; i += kLanes<A>) store<A>(to + i, load<A>(from + i));
    for (; i < count; ++i) to[i] = widen<A>(from[i]);
  }

  const AttentionArgs& args_;
  Buffer<int64_t> before_;  // pixels of all heads before a level
};

// Where levels and heads lie in the value, or in padded maps; everything in elements.
struct MapLayout {
  Buffer<int64_t> level, head;  // the first pixel of a level; from one head of it to the next
  int64_t pixel;                // from one pixel to the next

  explicit MapLayout(const AttentionArgs& args)
      : level(args.levels), head(args.levels), pixel(args.heads * args.channels) {
    for (int64_t i = 0; i < args.levels; ++i) {
      level[i] = args.starts[i] * pixel;
      head[i] = args.channels;
    }
  }

  MapLayout(const AttentionArgs& args, const PaddedMaps& maps)
      : level(args.levels), head(args.levels), pixel(args.channels) {
    for (int64_t i = 0; i < args.levels; ++i) {
      level[i] = maps.at(0, i, 0);
      head[i] = maps.pixels(i) * args.channels;
    }
  }

  int64_t at(int64_t of_level, int64_t of_head) const { return level[of_level] + of_head * head[of_level]; }
};

// Points of the rows of one tile and head: pixels and weights, level by level, row by row.
template <typename A>
class TilePoints {
 public:
  // `weights`: those of all rows of the fused form, where softmax has been taken already.
  TilePoints(const AttentionArgs& args, int64_t runs, const A* weights = nullptr)
      : args_(args), weights_(weights), room_(runs * kRunQueries * args.points + kLanes<A>),
        width_(args.levels * args.points + kLanes<A>), height_(width_.size()), row_x_(width_.size()),
        row_y_(width_.size()), row_weight_(width_.size()), x_(args.levels * room_), y_(args.levels * room_),
        weight_(args.levels * room_) {
    for (int64_t level = 0, i = 0; level < args.levels; ++level) {
      for (int64_t point = 0; point < args.points; ++point, ++i) {
        height_[i] = static_cast<A>(args.shapes[2 * level]);
        width_[i] = static_cast<A>(args.shapes[2 * level + 1]);
      }
    }
  }

  // Fills in levels `first` to `last`, the last not included.
  [[gnu::noinline]] void locate(
      const QueryRun* run, const QueryRun* end, int64_t image, int64_t head, int64_t first, int64_t last) {
    for (int64_t row = 0; run != end; ++run) {
      const int64_t query = image * args_.queries + run->first;
      for (int64_t i = 0; i < run->count; ++i, ++row) {
        is_fused(args_) ? locate_fused(query + i, head, first, last) : locate_given(query + i, head, first, last);
        args_.points == 4 ? scatter<4>(row, first, last) : scatter<0>(row, first, last);
      }
    }
  }

  // Asks for what `locate` will read of a run.
  [[gnu::noinline]] void prefetch(const QueryRun& run, int64_t image, int64_t head) const {
    const int64_t samples = args_.levels * args_.points;
    for (int64_t i = 0; i < run.count; ++i) {
      const int64_t row = (image * args_.queries + run.first + i) * args_.heads + head;
      const void* pairs = is_fused(args_) ? args_.offsets : args_.locations;
      const void* singles = is_fused(args_) ? args_.logits : args_.weights;
      prefetch_range(static_cast<const A*>(pairs) + 2 * row * samples, 2 * samples);
      prefetch_range(static_cast<const A*>(singles) + row * samples, samples);
    }
  }

  const A* x(int64_t level, int64_t row) const { return x_.data() + level * room_ + row * args_.points; }
  const A* y(int64_t level, int64_t row) const { return y_.data() + level * room_ + row * args_.points; }
  const A* weight(int64_t level, int64_t row) const { return weight_.data() + level * room_ + row * args_.points; }

 private:
  void locate_given(int64_t query, int64_t head, int64_t first, int64_t last) {
    const int64_t samples = args_.levels * args_.points, row = query * args_.heads + head;
    const A* locations = static_cast<const A*>(args_.locations) + 2 * row * samples;
    const A* weights = static_cast<const A*>(args_.weights) + row * samples;
    int64_t i = first * args_.points;
    const int64_t end = last * args_.points;
    for (; i + kLanes<A> <= end; i += kLanes<A>) {
      Vec<A> x, y;
      load_pairs<A>(locations + 2 * i, x, y);
      store<A>(&row_x_[i], x * load<A>(&width_[i]) - A(0.5));
      store<A>(&row_y_[i], y * load<A>(&height_[i]) - A(0.5));
      store<A>(&row_weight_[i], load<A>(weights + i));
    }
    for (; i < end; ++i) {
      row_x_[i] = locations[2 * i] * width_[i] - A(0.5);
      row_y_[i] = locations[2 * i + 1] * height_[i] - A(0.5);
      row_weight_[i] = weights[i];
    }
  }

  void locate_fused(int64_t query, int64_t head, int64_t first, int64_t last) {
    const int64_t samples = args_.levels * args_.points, row = query * args_.heads + head;
    const PointFrame<A>* frames = static_cast<const PointFrame<A>*>(args_.frames) + query * args_.levels;
    const A* offsets = static_cast<const A*>(args_.offsets) + 2 * row * samples;
    for (int64_t level = first, i = first * args_.points; level < last; ++level) {
      const PointFrame<A> frame = frames[level];
      for (int64_t point = 0; point < args_.points; ++point, ++i) {
        const A offset_x = offsets[2 * i], offset_y = offsets[2 * i + 1];
        row_x_[i] = frame.origin_x + frame.xx * offset_x + frame.xy * offset_y;
        row_y_[i] = frame.origin_y + frame.yx * offset_x + frame.yy * offset_y;
      }
    }
    if (weights_ == nullptr) {
      softmax<A>(static_cast<const A*>(args_.logits) + row * samples, samples, row_weight_.data());
    } else {
      const A* weights = weights_ + row * samples;  // of these levels only: other tasks write where the others are
      std::copy(weights + first * args_.points, weights + last * args_.points, &row_weight_[first * args_.points]);
    }
  }

  // The points of a row to their places; `Points` of each level, or 0: any number.
  template <int Points>
  void scatter(int64_t row, int64_t first, int64_t last) {
    const int64_t points = Points > 0 ? Points : args_.points;
    const size_t bytes = points * sizeof(A);
    for (int64_t level = first; level < last; ++level) {
      const int64_t to = level * room_ + row * points;
      std::memcpy(&x_[to], &row_x_[level * points], bytes);
      std::memcpy(&y_[to], &row_y_[level * points], bytes);
      std::memcpy(&weight_[to], &row_weight_[level * points], bytes);
    }
  }

  const AttentionArgs& args_;
  const A* weights_;
  int64_t room_;  // points of one level
  Buffer<A> width_, height_, row_x_, row_y_, row_weight_;
  Buffer<A> x_, y_, weight_;
};

}  // namespace stn_det::STN_DET_ISA
