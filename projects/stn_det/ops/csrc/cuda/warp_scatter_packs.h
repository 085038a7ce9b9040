// Sampling on CUDA, backward, where the channels of a pixel lie side by side; see warp_scatter.h.
#pragma once

#include "../entry/warp_sample.h"

#include "elements.h"
#include "sums.h"
#include "warp_backward.h"

namespace stn_det::cuda {

// What the lanes of a group need to know of a point.
template <int K, typename A>
struct SlopeSlot {
  int64_t row[K], column[K];  // in the image, in elements; of input and gradient
  int64_t grad_output;        // pixel, in elements
  A weight_x[K], weight_y[K], slope_x[K], slope_y[K];
  A share;
  unsigned added, inside;
};

template <typename Point, int K, typename A>
__device__ __forceinline__ void fill_slot(
    const WarpArgs& args, const Strides& strides, const Pixel& pixel, const Point& point, SlopeSlot<K, A>& slot) {
  AxisTaps<K, A> x, y;
  find_taps<(K > 1)>(args.padding, point.source.x, args.width, x);
  find_taps<(K > 1)>(args.padding, point.source.y, args.height, y);
  for (int a = 0; a < K; ++a) {
    slot.row[a] = y.index[a] * strides.row;
    slot.column[a] = x.index[a] * strides.column;
    slot.weight_y[a] = y.weight[a];
    slot.weight_x[a] = x.weight[a];
    slot.slope_y[a] = y.slope[a];
    slot.slope_x[a] = x.slope[a];
  }
  slot.added = cross<K>(y.weighty(), x.weighty());
  slot.inside = cross<K>(y.inside, x.inside);
  slot.share = A(1) / static_cast<A>(pixel.points());
  slot.grad_output = pixel.row * args.grad_output_strides.row + pixel.column * args.grad_output_strides.column;
}

// What a point adds to the gradient of kPack channels.
template <int kPack, int K, typename A>
__device__ __forceinline__ void scatter(
    const SlopeSlot<K, A>& slot, const PlainSum<A>& sums, int64_t channel, const A* grad) {
  for (int a = 0; a < K; ++a) {
    for (int b = 0; b < K; ++b) {
      if (!(slot.added >> (a * K + b) & 1u)) continue;
      const A weight = slot.weight_y[a] * slot.weight_x[b];
      Pack<A, kPack> terms;
      for (int i = 0; i < kPack; ++i) terms.at[i] = grad[i] * weight;
      sums.template add_pack<kPack>(channel + slot.row[a] + slot.column[b], terms);
    }
  }
}

// What kPack channels add to the slopes of a point.
template <int kPack, int K, typename T, typename A>
__device__ __forceinline__ void add_slopes(
    const SlopeSlot<K, A>& slot, const T* input, const A* grad, A& slope_x, A& slope_y) {
  for (int a = 0; a < K; ++a) {
    A line = 0, slope = 0;  // of all channels: the weights are theirs together
    for (int b = 0; b < K; ++b) {
      if (!(slot.inside >> (a * K + b) & 1u)) continue;
      const Pack<T, kPack> pack = load_pack<T, kPack>(input + slot.row[a] + slot.column[b]);
      A product = 0;
      for (int i = 0; i < kPack; ++i) product += to_sum(pack.at[i]) * grad[i];
      line += product * slot.weight_x[b];
      slope += product * slot.slope_x[b];
    }
    slope_x += slope * slot.weight_y[a];
    slope_y += line * slot.slope_y[a];
  }
}

// Channels side by side: a group of lanes a few pixels, whose points it takes in order. Each lane finds the taps of one
// point and in the end gets the slopes of this point, summed over the channels of all lanes.
template <typename Source, typename T, int K>
__global__ void __launch_bounds__(kThreads, K == 4 ? 4 : K == 2 ? 5 : 6) visit_packs(
    WarpArgs args, WarpGrid grid, int lanes, PlainSum<SumOf<T>> sums) {
  using A = SumOf<T>;
  constexpr int kPack = kWidest<T>;
  __shared__ typename Source::Shared shared;
  __shared__ double memory[K == 1 || Source::kGiven ? 1 : 9][kThreads];
  __shared__ SlopeSlot<K, A> slots[kThreads];
  const BlockPlace block(args, grid);
  const Source source(args, block, shared);
  const bool to_input = args.sums != nullptr, to_points = K > 1 && wants_slopes<Source>(args);
  const LaneGroup group(grid, lanes);
  const int index = group.first_pixel + group.lane;
  const bool owns = group.lane < group.pixels && index < grid.tile_height * grid.tile_width;
  const int count = owns ? source.pixel(args, grid, block, index).points() : 0;
  const int end = running_sum(group, count), total = __shfl_sync(0xffffffffu, end, lanes - 1, lanes);
  const int most = largest_of_warp(total);
  const Strides& strides = to_input ? args.grad_input_strides : args.input_strides;
  const T* input = static_cast<const T*>(args.input) + block.image * args.input_strides.image;
  const T* grads = static_cast<const T*>(args.grad_output) + block.image * args.grad_output_strides.image;
  const int64_t to_image = block.image * args.grad_input_strides.image;
  MatrixSums matrix(memory, to_points && !Source::kGiven);
  for (int start = 0; start < most; start += lanes) {
    __syncwarp();
    const PointOfGroup mine = find_point(group, end, count, start + group.lane);
    const bool exists = start + group.lane < total;
    if (exists) {
      const Pixel pixel = source.pixel(args, grid, block, group.first_pixel + mine.owner);
      const typename Source::Point point = source.point(args, block, pixel, mine.number);
      fill_slot(args, strides, pixel, point, slots[threadIdx.x]);
    }
    __syncwarp();
    A slope_x = 0, slope_y = 0;
    const int here = most - start < lanes ? most - start : lanes;
    for (int s = 0; s < here; ++s) {
      const SlopeSlot<K, A>& slot = slots[group.first_thread + s];
      A part_x = 0, part_y = 0;
      if (start + s < total && slot.inside != 0) {
        for (int64_t c = block.first_channel + group.lane * kPack; c < block.last_channel; c += lanes * kPack) {
          const Pack<T, kPack> pack = load_pack<T, kPack>(grads + slot.grad_output + c);
          A grad[kPack];
          for (int i = 0; i < kPack; ++i) grad[i] = to_sum(pack.at[i]) * slot.share;
          if (to_input) scatter<kPack>(slot, sums, to_image + c, grad);
          if (to_points) add_slopes<kPack>(slot, input + c, grad, part_x, part_y);
        }
      }
      if (to_points) {
        for (int bits = lanes / 2; bits > 0; bits /= 2) {
          part_x += __shfl_xor_sync(0xffffffffu, part_x, bits, lanes);
          part_y += __shfl_xor_sync(0xffffffffu, part_y, bits, lanes);
        }
        slope_x = s == group.lane ? part_x : slope_x;
        slope_y = s == group.lane ? part_y : slope_y;
      }
    }
    if (!to_points || !exists || (!Source::kGiven && slots[threadIdx.x].inside == 0)) continue;
    const Pixel pixel = source.pixel(args, grid, block, group.first_pixel + mine.owner);
    if constexpr (Source::kGiven) {
      write_slopes(args, block, pixel, static_cast<double>(slope_x), static_cast<double>(slope_y));
    } else {
      const WarpPoint point = source.point(args, block, pixel, mine.number);
      matrix.add(point, static_cast<double>(slope_x), static_cast<double>(slope_y), args.matrix_rows == 3);
    }
  }
  if (to_points && !Source::kGiven) matrix.write(args.partial_sums);
}

// Whether the kernel for packs can do it. Its offsets serve input and gradient.
template <typename T>
inline bool fits_lanes(const WarpArgs& args) {
  const Strides &from = args.input_strides, &to = args.grad_input_strides;
  const bool same = args.grad_input == nullptr || (to.row == from.row && to.column == from.column && to.channel == 1);
  return same && has_packs<T>(args.input, from, args.channels) &&
         has_packs<T>(args.grad_output, args.grad_output_strides, args.channels);
}

// Scatters and sums with lanes side by side, unless the layout or deterministic sums forbid it: then false.
template <typename Source>
inline bool scatter_packs(const WarpArgs& args, const WarpGrid& grid) {
  if (args.sums != nullptr && args.deterministic) return false;
  bool fits = false;
  for_element_and_taps(args, [&](auto element, auto taps) {
    using T = decltype(element);
    using A = SumOf<T>;
    fits = fits_lanes<T>(args);
    if (!fits) return;
    const int lanes = lanes_for<T>(grid, args.channels);
    launch(
        "visit_packs", visit_packs<Source, T, decltype(taps)::value>, blocks_for(args.images * grid.blocks(), 1),
        kThreads, 0, args.stream, args, grid, lanes, PlainSum<A>{static_cast<A*>(args.sums)});
  });
  return fits;
}

}  // namespace stn_det::cuda
