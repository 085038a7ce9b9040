// Multi-scale deformable attention on the CPU, forward; compiled once per instruction set.
//
// One tile of queries and one head at a time: its points level by level, whose weighted corners are added to sums that
// stay in the cache. Where samples are dense the levels are copied first, into maps that have a border of zeros and in
// which the pixels of a head are neighbours.
#include <algorithm>

#include "ms_deform_attn_tiles.h"

namespace stn_det::STN_DET_ISA {
namespace {

// A level of one head: pixel 0, and elements from pixel to pixel.
template <typename T>
struct Map {
  const T* value;
  int64_t stride;
};

// Adds the corners of some points to `Blocks` vectors of channels.
template <int Blocks, bool kPadded, typename T, typename A>
inline void add_points(const Map<T>& map, const CornerBlock<A>& corners, int64_t first, int64_t last, A* sums) {
  Vec<A> upper[Blocks], lower[Blocks] = {};  // two sums each, so that an addition need not wait for the one before
  for (int block = 0; block < Blocks; ++block) upper[block] = load<A>(sums + block * kLanes<A>);
  for (int64_t i = first; i < last; ++i) {
    const T* top = map.value + corners.pixel[i] * map.stride;
    const T* low = top + corners.row * map.stride;
    const A weight[4] = {corners.weight[0][i], corners.weight[1][i], corners.weight[2][i], corners.weight[3][i]};
    if (kPadded || corners.inside[i] == 15) {
      for (int block = 0; block < Blocks; ++block) upper[block] += load<A>(top + block * kLanes<A>) * weight[0];
      for (int block = 0; block < Blocks; ++block) lower[block] += load<A>(low + block * kLanes<A>) * weight[2];
      top += map.stride;
      low += map.stride;
      for (int block = 0; block < Blocks; ++block) upper[block] += load<A>(top + block * kLanes<A>) * weight[1];
      for (int block = 0; block < Blocks; ++block) lower[block] += load<A>(low + block * kLanes<A>) * weight[3];
      continue;
    }
    const T* pixels[4] = {top, top + map.stride, low, low + map.stride};
    for (int corner = 0; corner < 4; ++corner) {
      if (!(corners.inside[i] >> corner & 1)) continue;
      for (int block = 0; block < Blocks; ++block) {
        upper[block] += load<A>(pixels[corner] + block * kLanes<A>) * weight[corner];
      }
    }
  }
  for (int block = 0; block < Blocks; ++block) store<A>(sums + block * kLanes<A>, upper[block] + lower[block]);
}

// The same for one channel.
template <bool kPadded, typename T, typename A>
inline void add_points_to_one(const Map<T>& map, const CornerBlock<A>& corners, int64_t first, int64_t last, A* sum) {
  for (int64_t i = first; i < last; ++i) {
    const T* top = map.value + corners.pixel[i] * map.stride;
    const T* low = top + corners.row * map.stride;
    const T* pixels[4] = {top, top + map.stride, low, low + map.stride};
    for (int corner = 0; corner < 4; ++corner) {
      if (kPadded || (corners.inside[i] >> corner & 1)) *sum += widen<A>(*pixels[corner]) * corners.weight[corner][i];
    }
  }
}

template <bool kPadded, typename T, typename A>
inline void add_to_row(
    Map<T> map, const CornerBlock<A>& corners, int64_t first, int64_t last, int64_t channels, A* sums) {
  int64_t done = 0;
  const auto advance = [&](int64_t count) { done += count, map.value += count, sums += count; };
  for (; done + 4 * kLanes<A> <= channels; advance(4 * kLanes<A>)) {
    add_points<4, kPadded, T, A>(map, corners, first, last, sums);
  }
  for (; done + kLanes<A> <= channels; advance(kLanes<A>)) {
    add_points<1, kPadded, T, A>(map, corners, first, last, sums);
  }
  for (; done < channels; advance(1)) add_points_to_one<kPadded, T, A>(map, corners, first, last, sums);
}

// Writes the sums of a row to the output, from element `at` on.
template <typename T, typename A>
void write_row(const A* sums, int64_t channels, void* output, int64_t at) {
  T* out = static_cast<T*>(output) + at;
  int64_t done = 0;
  for (; done + kLanes<A> <= channels; done += kLanes<A>) store<A>(out + done, load<A>(sums + done));
  for (; done < channels; ++done) out[done] = narrow<T>(sums[done]);
}

template <typename A>
using WriteRow = void (*)(const A* sums, int64_t channels, void* output, int64_t at);

// The corners of a run in a plain map, which lie anywhere in memory.
template <typename T, typename A>
inline void prefetch_corners(const Map<T>& map, const CornerBlock<A>& corners, int64_t count, int64_t channels) {
  for (int64_t i = 0; i < count; ++i) {
    if (corners.inside[i] == 0) continue;
    const T* top = map.value + corners.pixel[i] * map.stride;
    const T* low = top + corners.row * map.stride;
    for (const T* pixel : {top, top + map.stride, low, low + map.stride}) prefetch_range(pixel, channels);
  }
}

// All tiles of an image.
template <bool kPadded, typename A, typename T>
void sum_tiles(
    const AttentionArgs& args, const QueryTiles& tiles, int64_t tile_runs, int64_t image, const T* maps,
    const MapLayout& layout, WriteRow<A> write) {
  const int64_t channels = args.channels, points = args.points;
  for_ranges(args.parallel_for, 0, tiles.count(), 1, [&](int64_t begin, int64_t end) {
    TilePoints<A> located(args, tile_runs);
    CornerBlock<A> corners(kRunQueries * points);
    LineBuffer<A> all_sums(tile_runs * kRunQueries * channels);
    for (int64_t tile = begin; tile < end; ++tile) {
      for (int64_t head = 0; head < args.heads; ++head) {
        located.locate(tiles.begin(tile), tiles.end(tile), image, head, 0, args.levels);
        RunsAhead ahead(tiles, tile, end, head, 0, args.heads);
        std::fill_n(all_sums.data(), tile_runs * kRunQueries * channels, A(0));
        for (int64_t level = 0; level < args.levels; ++level) {
          const Map<T> map = {maps + layout.at(level, head), layout.pixel};
          int64_t row = 0;
          for (const QueryRun* run = tiles.begin(tile); run != tiles.end(tile); row += run->count, ++run) {
            if (!ahead.empty()) located.prefetch(*ahead.run++, image, ahead.head);
            corners.template find<kPadded>(
                located.x(level, row), located.y(level, row), located.weight(level, row), run->count * points,
                rows_of(args, level), columns_of(args, level));
            if (!kPadded) prefetch_corners(map, corners, run->count * points, channels);
            for (int64_t i = 0; i < run->count; ++i) {
              add_to_row<kPadded>(
                  map, corners, i * points, (i + 1) * points, channels, all_sums.data() + (row + i) * channels);
            }
          }
        }
        const A* sums = all_sums.data();
        for (const QueryRun* run = tiles.begin(tile); run != tiles.end(tile); ++run) {
          const int64_t first = ((image * args.queries + run->first) * args.heads + head) * channels;
          for (int64_t i = 0; i < run->count; ++i, sums += channels) {
            write(sums, channels, args.output, first + i * args.heads * channels);
          }
        }
      }
    }
  });
}

// Copies of all levels and heads of an image.
template <typename T, typename A>
void copy_image(const AttentionArgs& args, const PaddedMaps& maps, const T* value, A* copies) {
  const MapLayout layout(args);
  for (int64_t level = 0; level < args.levels; ++level) {
    for_ranges(args.parallel_for, 0, maps.height(level) + 1, 4, [&](int64_t begin, int64_t end) {
      for (int64_t y = begin; y < end; ++y) {
        for (int64_t head = 0; head < args.heads; ++head) {
          maps.copy_line(value + layout.at(level, head), level, y, copies + maps.at(0, level, head));
        }
      }
    });
  }
}

template <typename T, typename A>
void forward(const AttentionArgs& args) {
  if (is_fused(args)) make_frames<A>(args);
  const int64_t image_size = args.positions * args.heads * args.channels;
  const T* value = static_cast<const T*>(args.value);
  if (!samples_are_dense(args)) {
    const QueryTiles tiles(args, 1);
    const MapLayout layout(args);
    for (int64_t image = 0; image < args.images; ++image, value += image_size) {
      sum_tiles<false, A>(args, tiles, 1, image, value, layout, write_row<T, A>);
    }
    return;
  }
  const QueryTiles tiles(args, kTileRuns);
  const PaddedMaps maps(args, args.heads);
  const MapLayout layout(args, maps);
  LineBuffer<A> copies(maps.size(0, args.levels));
  for (int64_t image = 0; image < args.images; ++image, value += image_size) {
    copy_image(args, maps, value, copies.data());
    sum_tiles<true, A, A>(args, tiles, kTileRuns, image, copies.data(), layout, write_row<T, A>);
  }
}

}  // namespace

void ms_deform_attn_forward(const AttentionArgs& args) {
  switch (args.element) {
    case Element::kFloat64: return forward<double, double>(args);
    case Element::kFloat32: return forward<float, float>(args);
    case Element::kFloat16: return forward<Float16, float>(args);
    case Element::kBFloat16: return forward<BFloat16, float>(args);
  }
}

}  // namespace stn_det::STN_DET_ISA
