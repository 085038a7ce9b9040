// Sampling on CUDA, forward, at the points of a matrix or at given ones. See warp_taps.h for where a point reads.
//
//   output[n, c, i, j] = mean over the points p of pixel (i, j) of sum_ab row_a(p) column_b(p) input[n, c, a, b]
//
// A block is a tile of the destination and a range of channels. Of images in planes a thread takes a pixel, finds its
// taps once and goes through the channels. Where the channels of a pixel lie side by side, 2^k lanes read 16 bytes of
// them each: every lane finds the taps of one point and leaves them in shared memory for the others of its group.
#pragma once

#include "../entry/warp_sample.h"

#include "elements.h"
#include "warp_taps.h"

namespace stn_det::cuda {

// Channels of a pixel whose loads are under way together.
template <int K>
constexpr int kTogether = K == 4 ? 2 : 4;

// Any strides: a thread a pixel, and some of the channels where the tile has fewer pixels than the block threads.
template <typename Source, typename T, int K>
__global__ void __launch_bounds__(kThreads, 5) sample_pixels(WarpArgs args, WarpGrid grid) {
  using A = SumOf<T>;
  constexpr int kGroup = kTogether<K>;
  __shared__ typename Source::Shared shared;
  const BlockPlace block(args, grid);
  const Source source(args, block, shared);
  const int pixels = grid.tile_height * grid.tile_width, step = kThreads / pixels;
  const int sub = static_cast<int>(threadIdx.x) / pixels;
  const Pixel pixel = source.pixel(args, grid, block, static_cast<int>(threadIdx.x) - sub * pixels);
  const int points = pixel.points();
  if (sub >= step || points == 0) return;
  const T* input = static_cast<const T*>(args.input) + block.image * args.input_strides.image;
  T* output = static_cast<T*>(args.output) + block.image * args.output_strides.image +
              pixel.row * args.output_strides.row + pixel.column * args.output_strides.column;
  const A share = A(1) / static_cast<A>(points);
  const int64_t first = block.first_channel + sub;
  int64_t row[K], column[K];
  A weight_x[K], weight_y[K];
  unsigned read = 0;
  for (int64_t c = first; c < block.last_channel; c += kGroup * step) {
    A total[kGroup] = {};
    for (int k = 0; k < points; ++k) {
      if (points > 1 || c == first) {
        const typename Source::Point point = source.point(args, block, pixel, k);
        AxisTaps<K, A> x, y;
        find_taps<false>(args.padding, point.source.x, args.width, x);
        find_taps<false>(args.padding, point.source.y, args.height, y);
        read = cross<K>(y.weighty(), x.weighty());
        for (int a = 0; a < K; ++a) {
          row[a] = y.index[a] * args.input_strides.row;
          column[a] = x.index[a] * args.input_strides.column;
          weight_y[a] = y.weight[a];
          weight_x[a] = x.weight[a];
        }
      }
      if (read == 0) continue;
      for (int g = 0; g < kGroup; ++g) {
        const int64_t channel = c + g * step;
        const unsigned wanted = channel < block.last_channel ? read : 0u;
        const T* plane = input + channel * args.input_strides.channel;
        for (int a = 0; a < K; ++a) {
          A line = 0;
          for (int b = 0; b < K; ++b) {
            const A value = wanted >> (a * K + b) & 1u ? to_sum(plane[row[a] + column[b]]) : A(0);
            line += value * weight_x[b];
          }
          total[g] += line * weight_y[a];
        }
      }
    }
    for (int g = 0; g < kGroup; ++g) {
      const int64_t channel = c + g * step;
      if (channel < block.last_channel) output[channel * args.output_strides.channel] = from_sum<T>(total[g] * share);
    }
  }
}

// What the lanes of a group need to know of a point.
template <int K, typename A>
struct SampleSlot {
  int64_t row[K], column[K];  // in the input, in elements
  int64_t output;             // pixel that ends with this point, in elements, or -1
  A weight_x[K], weight_y[K];
  A share;
  unsigned read;
};

template <typename Source, int K, typename A>
__device__ __forceinline__ void fill_slot(
    const WarpArgs& args, const WarpGrid& grid, const BlockPlace& block, const Source& source, int index, int number,
    SampleSlot<K, A>& slot) {
  const Pixel pixel = source.pixel(args, grid, block, index);
  const typename Source::Point point = source.point(args, block, pixel, number);
  AxisTaps<K, A> x, y;
  find_taps<false>(args.padding, point.source.x, args.width, x);
  find_taps<false>(args.padding, point.source.y, args.height, y);
  for (int a = 0; a < K; ++a) {
    slot.row[a] = y.index[a] * args.input_strides.row;
    slot.column[a] = x.index[a] * args.input_strides.column;
    slot.weight_y[a] = y.weight[a];
    slot.weight_x[a] = x.weight[a];
  }
  slot.read = cross<K>(y.weighty(), x.weighty());
  slot.share = A(1) / static_cast<A>(pixel.points());
  const bool ends = number + 1 == pixel.points();
  slot.output = ends ? pixel.row * args.output_strides.row + pixel.column * args.output_strides.column : -1;
}

template <int kPack, int K, typename T, typename A>
__device__ __forceinline__ void add_sample(const SampleSlot<K, A>& slot, const T* input, A* total) {
  const unsigned read = slot.read;
  if (read == 0) return;
  for (int a = 0; a < K; ++a) {
    A line[kPack] = {};
    for (int b = 0; b < K; ++b) {
      if (!(read >> (a * K + b) & 1u)) continue;
      const Pack<T, kPack> pack = load_pack<T, kPack>(input + slot.row[a] + slot.column[b]);
      const A weight = slot.weight_x[b];
      for (int i = 0; i < kPack; ++i) line[i] += to_sum(pack.at[i]) * weight;
    }
    const A weight = slot.weight_y[a];
    for (int i = 0; i < kPack; ++i) total[i] += line[i] * weight;
  }
}

// Channels side by side: a group of lanes a few pixels, whose points it takes in order, as many at once as it has
// lanes.
template <typename Source, typename T, int K>
__global__ void __launch_bounds__(kThreads, 5) sample_packs(WarpArgs args, WarpGrid grid, int lanes) {
  using A = SumOf<T>;
  constexpr int kPack = kWidest<T>;
  __shared__ typename Source::Shared shared;
  __shared__ SampleSlot<K, A> slots[kThreads];
  const BlockPlace block(args, grid);
  const Source source(args, block, shared);
  const LaneGroup group(grid, lanes);
  const int index = group.first_pixel + group.lane;
  const bool owns = group.lane < group.pixels && index < grid.tile_height * grid.tile_width;
  const int count = owns ? source.pixel(args, grid, block, index).points() : 0;
  const int end = running_sum(group, count), total = __shfl_sync(0xffffffffu, end, lanes - 1, lanes);
  const int most = largest_of_warp(total);
  const T* input = static_cast<const T*>(args.input) + block.image * args.input_strides.image;
  T* output = static_cast<T*>(args.output) + block.image * args.output_strides.image;
  for (int64_t first = block.first_channel; first < block.last_channel; first += lanes * kPack) {
    const int64_t channel = first + group.lane * kPack;
    A sum[kPack] = {};
    for (int start = 0; start < most; start += lanes) {
      if (first == block.first_channel || most > lanes) {  // else they are still there
        __syncwarp();
        const PointOfGroup point = find_point(group, end, count, start + group.lane);
        if (start + group.lane < total) {
          const int owner = group.first_pixel + point.owner;
          fill_slot(args, grid, block, source, owner, point.number, slots[threadIdx.x]);
        }
        __syncwarp();
      }
      if (channel >= block.last_channel) continue;
      const int here = total - start < lanes ? total - start : lanes;
      for (int s = 0; s < here; ++s) {
        const SampleSlot<K, A>& slot = slots[group.first_thread + s];
        add_sample<kPack>(slot, input + channel, sum);
        if (slot.output < 0) continue;
        Pack<T, kPack> pack;
        for (int i = 0; i < kPack; ++i) {
          pack.at[i] = from_sum<T>(sum[i] * slot.share);
          sum[i] = 0;
        }
        store_pack(output + slot.output + channel, pack);
      }
    }
  }
}

template <typename Source>
inline void sample_forward(const WarpArgs& args) {
  const WarpGrid grid(args);
  const unsigned blocks = blocks_for(args.images * grid.blocks(), 1);
  for_element_and_taps(args, [&](auto element, auto taps) {
    using T = decltype(element);
    constexpr int K = decltype(taps)::value;
    if (has_packs<T>(args.input, args.input_strides, args.channels) &&
        has_packs<T>(args.output, args.output_strides, args.channels)) {
      const int lanes = lanes_for<T>(grid, args.channels);
      launch("sample_packs", sample_packs<Source, T, K>, blocks, kThreads, 0, args.stream, args, grid, lanes);
    } else {
      launch("sample_pixels", sample_pixels<Source, T, K>, blocks, kThreads, 0, args.stream, args, grid);
    }
  });
}

}  // namespace stn_det::cuda
