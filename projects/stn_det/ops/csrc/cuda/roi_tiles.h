// What the kernels of RoIAlign share: where the points of a RoI lie, and how a block divides its work.
//
// A block takes some channels of some bins of one RoI. The points of its bins are located once, in shared memory, and
// read by all of its channels. Threads side by side take packs of 16 bytes of neighbouring channels of one bin. Outputs
// are planes: a tile in shared memory lies between, so that they too are read and written by neighbouring threads.
// Where turning the whole map would not pay, neighbouring threads take neighbouring bins of one plane instead.
#pragma once

#include <algorithm>

#include "../common/roi_frames.h"
#include "channels_last.h"

namespace stn_det::cuda {

constexpr int kRoiThreads = 256;
constexpr int kTileChannels = 128;       // at most
constexpr int kTileBins = 64;            // at most
constexpr int kSharedBytes = 46 << 10;   // of a block, at most
constexpr int64_t kEnoughBlocks = 1024;  // to keep a GPU busy; fewer are cut smaller

// How blocks share the work; the same for all.
struct RoiWork {
  int lanes;            // threads over packs of channels, a power of 2
  int groups;           // threads over bins: all others
  bool bins_adjacent;   // neighbouring threads take neighbouring bins, else neighbouring packs
  int channels;         // of a block, in whole packs for each lane
  int bins;             // of a block
  int points;           // of a bin that are held at a time
  int row;              // elements of the tile from a bin to the next
  int shared_bytes;     // points, or merged taps, of all bins, and then the tile
  int tile_at;          // byte where the tile begins
  int64_t channel_blocks, bin_blocks;  // of a RoI
  int64_t image_stride, row_stride, pixel_stride, channel_stride;  // of the map
};

// `pack`: channels of a pixel that are read at once; the map is (N, C, H, W) if `planes`, else (N, H, W, row_channels).
// Bytes of shared memory: `element_bytes` of the tile for each bin and channel, `bin_bytes` for the points of a bin, of
// `point_bytes` each.
inline RoiWork divide_work(
    const RoiArgs& args, int pack, bool planes, int64_t row_channels, int element_bytes, int bin_bytes,
    int point_bytes) {
  RoiWork work{};
  const int64_t packs = (args.channels + pack - 1) / pack, bins = args.rows * args.columns;
  work.bins_adjacent = planes;
  work.lanes = 1;
  const int most = planes ? 4 : std::min(32, kTileChannels / pack);
  while (work.lanes < most && work.lanes < packs) work.lanes *= 2;
  work.groups = kRoiThreads / work.lanes;
  work.channels = planes ? static_cast<int>(std::clamp<int64_t>(args.channels, 1, 32)) : work.lanes * pack;
  work.channels = (work.channels + work.lanes - 1) / work.lanes * work.lanes;
  work.row = work.channels | 1;  // odd: bins of one channel lie in different banks
  work.channel_blocks = (args.channels + work.channels - 1) / work.channels;
  const int64_t most_bins = std::min(kTileBins, kSharedBytes / (work.row * element_bytes + bin_bytes));
  work.bin_blocks = (bins + most_bins - 1) / most_bins;
  const int64_t blocks = std::max<int64_t>(1, args.rois * work.channel_blocks);
  const int64_t wanted = std::min((kEnoughBlocks + blocks - 1) / blocks, (bins + work.groups - 1) / work.groups);
  work.bin_blocks = std::max(work.bin_blocks, wanted);
  work.bins = static_cast<int>((bins + work.bin_blocks - 1) / work.bin_blocks);
  work.bin_blocks = (bins + work.bins - 1) / work.bins;
  work.points = bin_bytes / point_bytes;
  work.tile_at = (work.bins * bin_bytes + 15) / 16 * 16;
  work.shared_bytes = work.tile_at + work.bins * work.row * element_bytes;
  const int64_t pixels = args.height * args.width;
  work.pixel_stride = planes ? 1 : row_channels;
  work.channel_stride = planes ? pixels : 1;
  work.row_stride = args.width * work.pixel_stride;
  work.image_stride = pixels * (planes ? args.channels : row_channels);
  return work;
}

inline unsigned blocks_of(const RoiArgs& args, const RoiWork& work) {
  return blocks_for(args.rois * work.channel_blocks * work.bin_blocks, 1);
}

// The part of a block, and of a thread in it.
struct RoiShare {
  int64_t roi, channel, bin;  // the first ones
  int channels, bins;
  int lane, group;

  __device__ __forceinline__ RoiShare(const RoiArgs& args, const RoiWork& work) {
    const unsigned bin_blocks = static_cast<unsigned>(work.bin_blocks);
    const unsigned channel_blocks = static_cast<unsigned>(work.channel_blocks);
    take(args, work, blockIdx.x / bin_blocks / channel_blocks, blockIdx.x / bin_blocks % channel_blocks,
         blockIdx.x % bin_blocks);
    lane = work.bins_adjacent ? threadIdx.x / work.groups : threadIdx.x % work.lanes;
    group = work.bins_adjacent ? threadIdx.x % work.groups : threadIdx.x / work.lanes;
  }

  __device__ __forceinline__ void take(
      const RoiArgs& args, const RoiWork& work, int64_t of_roi, int64_t channel_block, int64_t bin_block) {
    roi = of_roi;
    channel = channel_block * work.channels;
    bin = bin_block * work.bins;
    const int64_t channels_left = args.channels - channel, bins_left = args.rows * args.columns - bin;
    channels = channels_left < work.channels ? static_cast<int>(channels_left) : work.channels;
    bins = bins_left < work.bins ? static_cast<int>(bins_left) : work.bins;
  }

  // Where in the map the first channel of the RoI's image lies.
  template <typename A>
  __device__ __forceinline__ int64_t begin(const RoiWork& work, const Frame<A>& frame) const {
    return frame.image * work.image_stride + channel * work.channel_stride;
  }
};

// A located point: its four pixels are `pixel` and that to the right, below and both, where the map goes on. Points
// further than one pixel outside have pixel -1.
template <typename A>
struct alignas(16) RoiPoint {
  int32_t pixel;
  uint32_t steps;
  A y, x;  // distance from the pixel, in [0, 1)
};

constexpr uint32_t kStepsRight = 1, kStepsBelow = 2;
constexpr uint32_t kMovesY = 4, kMovesX = 8;  // moving the point changes what it reads: not before the first pixel

template <typename A>
__device__ __forceinline__ A find_fraction(int bin, int step, int grid, int64_t bins, A centre) {
  const A along = static_cast<A>(bin) + (static_cast<A>(step) + A(0.5)) / static_cast<A>(grid);
  return along / static_cast<A>(bins) - centre;
}

template <typename A>
__device__ __forceinline__ RoiPoint<A> locate(A y, A x, int height, int width) {
  const A last_y = static_cast<A>(height - 1), last_x = static_cast<A>(width - 1);
  RoiPoint<A> point{-1, 0, 0, 0};
  // Written so that NaN fails; converting NaN or a huge number to an integer is undefined.
  if (!(y >= -1 && x >= -1 && y <= last_y + 1 && x <= last_x + 1)) return point;
  point.steps = (y >= 0 ? kMovesY : 0) | (x >= 0 ? kMovesX : 0);
  point.steps |= (x < last_x ? kStepsRight : 0) | (y < last_y ? kStepsBelow : 0);
  y = y > 0 ? (y < last_y ? y : last_y) : A(0);
  x = x > 0 ? (x < last_x ? x : last_x) : A(0);
  const int top = static_cast<int>(y), left = static_cast<int>(x);
  point.pixel = top * width + left;
  point.y = y - static_cast<A>(top);
  point.x = x - static_cast<A>(left);
  return point;
}

// The point `place` of a bin, row by row; `v` and `u` become its fractions of height and width.
template <typename A>
__device__ __forceinline__ RoiPoint<A> find_point(
    const RoiArgs& args, const Frame<A>& frame, int64_t bin, int place, A& v, A& u) {
  const int columns = static_cast<int>(args.columns), grid_x = static_cast<int>(frame.grid_x);
  const int row = static_cast<int>(bin) / columns, column = static_cast<int>(bin) - row * columns;
  const int step_y = place / grid_x, step_x = place - step_y * grid_x;
  v = find_fraction(row, step_y, static_cast<int>(frame.grid_y), args.rows, frame.centre);
  u = find_fraction(column, step_x, grid_x, args.columns, frame.centre);
  const A base_y = frame.origin_y + v * frame.down_y, base_x = frame.origin_x + v * frame.down_x;
  return locate(
      base_y + u * frame.across_y, base_x + u * frame.across_x, static_cast<int>(args.height),
      static_cast<int>(args.width));
}

// What the four pixels of a point weigh.
template <typename A>
__device__ __forceinline__ void find_weights(const RoiPoint<A>& point, A (&weight)[4]) {
  weight[0] = (1 - point.y) * (1 - point.x);
  weight[1] = (1 - point.y) * point.x;
  weight[2] = point.y * (1 - point.x);
  weight[3] = point.y * point.x;
}

// Where they lie from the first pixel of the image.
template <typename A>
__device__ __forceinline__ void find_offsets(const RoiWork& work, const RoiPoint<A>& point, int64_t (&offset)[4]) {
  const int64_t right = point.steps & kStepsRight ? work.pixel_stride : 0;
  offset[0] = point.pixel * work.pixel_stride;
  offset[1] = offset[0] + right;
  offset[2] = offset[0] + (point.steps & kStepsBelow ? work.row_stride : 0);
  offset[3] = offset[2] + right;
}

// Adds what a point reads of a pack of channels from `from` on, which is 0 outside.
template <typename T, int kPack, typename A>
__device__ __forceinline__ void add_point(
    const RoiWork& work, RoiPoint<A> point, const T* from, A (&sum)[kPack]) {
  if (point.pixel < 0) return;
  int64_t offset[4];
  A weight[4];
  find_offsets(work, point, offset);
  find_weights(point, weight);
  Pack<T, kPack> read[4];
  for (int k = 0; k < 4; ++k) read[k] = load_pack<T, kPack>(from + offset[k]);
  for (int k = 0; k < 4; ++k) {
    for (int c = 0; c < kPack; ++c) sum[c] += to_sum(read[k].at[c]) * weight[k];
  }
}

// The points of an axis-aligned RoI are a product of rows and columns, and mostly a pixel or less apart: neighbours
// read the same pixels. Their weights along an axis are added up before any feature is read. A bin of 2 x 2 points a
// pixel apart then reads 9 pixels and not 16, one of 4 x 4 points 25 and not 64.
constexpr int kMergedSteps = 4;  // points along an axis, at a time

template <typename A>
struct alignas(2 * sizeof(A)) AxisTap {
  int32_t place;  // a row or a column
  A weight;
};

template <typename A>
struct alignas(2 * sizeof(A)) RoiAxisTaps {
  int count;
  AxisTap<A> taps[2 * kMergedSteps];

  // A place that was added shortly before only gets more weight.
  __device__ __forceinline__ void add(int place, A weight) {
    for (int i = count - 1; i >= 0 && i >= count - 3; --i) {
      if (taps[i].place != place) continue;
      taps[i].weight += weight;
      return;
    }
    taps[count++] = {place, weight};
  }

  // The points [first, end) of a bin; `end` is at most the size of the grid.
  __device__ __forceinline__ void find(
      int bin, int first, int end, int64_t grid, int64_t bins, A centre, A origin, A step, int size) {
    count = 0;
    for (int i = first; i < end; ++i) {
      A at = origin + find_fraction(bin, i, static_cast<int>(grid), bins, centre) * step;
      if (!(at >= -1 && at <= static_cast<A>(size))) continue;  // also NaN
      at = at > 0 ? at : A(0);
      at = at < static_cast<A>(size - 1) ? at : static_cast<A>(size - 1);
      const int place = static_cast<int>(at);
      const A part = at - static_cast<A>(place);
      add(place, 1 - part);
      add(place + 1 < size ? place + 1 : place, part);
    }
  }
};

// The taps of all bins of the share along y, and after them those along x, of the points from (first_y, first_x) on.
template <typename A>
__device__ __forceinline__ void find_axis_taps(
    const RoiArgs& args, const RoiShare& share, const Frame<A>& frame, int first_y, int first_x, RoiAxisTaps<A>* taps) {
  const int columns = static_cast<int>(args.columns);
  const int grid_y = static_cast<int>(frame.grid_y), grid_x = static_cast<int>(frame.grid_x);
  for (int i = threadIdx.x; i < 2 * share.bins; i += kRoiThreads) {
    const bool along_x = i >= share.bins;
    const int bin = static_cast<int>(share.bin) + (along_x ? i - share.bins : i), row = bin / columns;
    const int first = along_x ? first_x : first_y, grid = along_x ? grid_x : grid_y;
    taps[i].find(
        along_x ? bin - row * columns : row, first, first + kMergedSteps < grid ? first + kMergedSteps : grid, grid,
        along_x ? args.columns : args.rows, frame.centre, along_x ? frame.origin_x : frame.origin_y,
        along_x ? frame.across_x : frame.down_y, static_cast<int>(along_x ? args.width : args.height));
  }
}

// Bytes for the points of a bin that kernels with merged taps ask for; room for 8 or 9 points.
template <typename A>
constexpr int kMergedBytes = 2 * sizeof(RoiAxisTaps<A>);

// Calls visit(bin, channel), both counted from the first of the share, for all packs of channels of this thread.
template <int kPack, typename Visit>
__device__ __forceinline__ void for_packs(const RoiWork& work, const RoiShare& share, const Visit& visit) {
  for (int bin = share.group; bin < share.bins; bin += work.groups) {
    for (int channel = share.lane * kPack; channel < share.channels; channel += work.lanes * kPack) visit(bin, channel);
  }
}

// Locates the points of all bins of the share, some at a time, and calls visit_points(bin, channel, points of the bin,
// place of its first one, number of them, how many there were before) for all packs of channels. visit_place(place, v,
// u) is told the fractions of height and width of each.
template <int kPack, typename A, typename Place, typename Visit>
__device__ __forceinline__ void for_points(
    const RoiArgs& args, const RoiWork& work, const RoiShare& share, const Frame<A>& frame, RoiPoint<A>* points,
    const Place& visit_place, const Visit& visit_points) {
  const int count = static_cast<int>(frame.grid_y * frame.grid_x);
  for (int first = 0; first < count; first += work.points) {
    const int held = count - first < work.points ? count - first : work.points;
    if (first > 0) __syncthreads();
    for (int i = threadIdx.x; i < share.bins * held; i += kRoiThreads) {
      A v, u;
      points[i] = find_point(args, frame, share.bin + i / held, first + i % held, v, u);
      visit_place(i, v, u);
    }
    __syncthreads();
    for_packs<kPack>(work, share, [&](int bin, int channel) {
      visit_points(bin, channel, points + bin * held, bin * held, held, first);
    });
  }
}

// The same for axis-aligned RoIs: visit_taps(bin, channel, taps along y, taps along x, whether they are the first).
template <int kPack, typename A, typename Visit>
__device__ __forceinline__ void for_merged(
    const RoiArgs& args, const RoiWork& work, const RoiShare& share, const Frame<A>& frame, RoiAxisTaps<A>* taps,
    const Visit& visit_taps) {
  const int grid_y = static_cast<int>(frame.grid_y), grid_x = static_cast<int>(frame.grid_x);
  for (int first_y = 0; first_y < grid_y; first_y += kMergedSteps) {
    for (int first_x = 0; first_x < grid_x; first_x += kMergedSteps) {
      const bool is_first = first_y == 0 && first_x == 0;
      if (!is_first) __syncthreads();
      find_axis_taps(args, share, frame, first_y, first_x, taps);
      __syncthreads();
      for_packs<kPack>(work, share, [&](int bin, int channel) {
        visit_taps(bin, channel, taps[bin], taps[share.bins + bin], is_first);
      });
    }
  }
}

// Where the tile keeps a channel of a bin. Channels of a pack lie apart, those of neighbouring lanes together: then
// neither neighbouring lanes nor neighbouring bins meet in one bank.
template <int kPack>
__device__ __forceinline__ int place_in_tile(const RoiWork& work, int bin, int channel) {
  return bin * work.row + channel % kPack * (work.channels / kPack) + channel / kPack;
}

// Calls visit(index in (R, C, ph * pw), place in the tile) for all of the share, neighbouring threads on neighbouring
// bins.
template <int kPack, typename Visit>
__device__ __forceinline__ void for_tile(
    const RoiArgs& args, const RoiWork& work, const RoiShare& share, const Visit& visit) {
  int across = 32;
  while (across / 2 >= share.bins) across /= 2;
  const int first = threadIdx.x % across;
  const int64_t bins = args.rows * args.columns;
  for (int channel = threadIdx.x / across; channel < share.channels; channel += kRoiThreads / across) {
    const int64_t index = (share.roi * args.channels + share.channel + channel) * bins + share.bin;
    for (int bin = first; bin < share.bins; bin += across) {
      visit(index + bin, place_in_tile<kPack>(work, bin, channel));
    }
  }
}

// Fills the tile from (R, C, ph, pw), times a factor; zeros in channels of a pack that do not exist.
template <int kPack, typename A>
__device__ __forceinline__ void read_tile(
    const RoiArgs& args, const RoiWork& work, const RoiShare& share, const A* from, A factor, A* tile) {
  for_tile<kPack>(args, work, share, [&](int64_t index, int place) { tile[place] = from[index] * factor; });
  if (kPack == 1 || share.channels % kPack == 0) return;
  const int missing = kPack - share.channels % kPack;
  for (int i = threadIdx.x; i < share.bins * missing; i += kRoiThreads) {
    tile[place_in_tile<kPack>(work, i / missing, share.channels + i % missing)] = 0;
  }
}

template <typename A>
__global__ void __launch_bounds__(kRoiThreads) find_frames(RoiArgs args) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kRoiThreads + threadIdx.x;
  if (i >= args.rois) return;
  const A* roi = static_cast<const A*>(args.regions) + i * (args.rotated ? 6 : 5);
  Frame<A> frame{};
  frame.image = -1;
  if (is_finite(roi, args.rotated) && is_known_image(roi[0], args.images)) {
    frame = find_frame(roi, args);
    frame.image = static_cast<int64_t>(roi[0]);
  }
  static_cast<Frame<A>*>(args.frames)[i] = frame;
}

template <typename A>
inline void launch_find_frames(const RoiArgs& args) {
  launch("find_frames", find_frames<A>, blocks_for(args.rois, kRoiThreads), kRoiThreads, 0, args.stream, args);
}

// Channels of a pixel of `pixels`.
template <typename T>
inline int64_t filled_up(int64_t channels) {
  return (channels + kWidest<T> - 1) / kWidest<T> * kWidest<T>;
}

// Calls run(features, constant of the elements of a pack, planes, channels of a pixel), after turning the features if
// there is room for it.
template <typename T, typename Run>
inline void with_features(const RoiArgs& args, const Run& run) {
  using Wide = std::integral_constant<int, kWidest<T>>;
  using Single = std::integral_constant<int, 1>;
  const T* input = static_cast<const T*>(args.input);
  if (args.channels_last) {
    if (fits_packs<T>(input, args.channels)) return run(input, Wide(), false, args.channels);
    return run(input, Single(), false, args.channels);
  }
  if (args.pixels == nullptr) return run(input, Single(), true, args.channels);
  const int64_t channels = filled_up<T>(args.channels);
  launch_turn_to_pixels<T>(
      {args.input, args.pixels, args.images, args.channels, args.height * args.width, channels}, args.stream);
  run(static_cast<const T*>(args.pixels), Wide(), false, channels);
}

}  // namespace stn_det::cuda
