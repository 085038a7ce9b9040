// Sampling on CUDA, backward, at the points of a matrix or at given ones; the same blocks and lanes as forward
// (warp_forward.h).
//
// The gradient to the input is scattered into float sums (double for double), whose form sums.h decides. The slopes of
// a point are summed over channels first, then in double; see warp_backward.h for what becomes of them.
#pragma once

#include "../entry/warp_sample.h"

#include "elements.h"
#include "sums.h"
#include "warp_backward.h"

namespace stn_det::cuda {

// Sums for the gradient to the input, which a kernel is not compiled twice for.
template <typename A>
struct EitherSum {
  PlainSum<A> plain;
  ExactSum<A> exact;

  explicit EitherSum(const PlainSum<A>& sums) : plain(sums), exact{} {}
  explicit EitherSum(const ExactSum<A>& sums) : plain{}, exact(sums) {}

  __device__ __forceinline__ void add(int64_t index, A term) const {
    exact.scale == nullptr ? plain.add(index, term) : exact.add(index, term);
  }
};

// Any strides: a thread a pixel, and some of the channels where the tile has fewer pixels than the block threads.
template <typename Source, typename T, int K>
__global__ void __launch_bounds__(kThreads, K == 4 ? 4 : K == 2 ? 5 : 6) visit_pixels(
    WarpArgs args, WarpGrid grid, EitherSum<SumOf<T>> sums) {
  using A = SumOf<T>;
  constexpr int kGroup = 4;  // channels that are added in A before they are in double
  __shared__ typename Source::Shared shared;
  __shared__ double memory[K == 1 ? 1 : Source::kGiven ? 2 : 9][kThreads];
  const BlockPlace block(args, grid);
  const Source source(args, block, shared);
  const bool to_input = args.sums != nullptr, to_points = K > 1 && wants_slopes<Source>(args);
  const int pixels = grid.tile_height * grid.tile_width, step = kThreads / pixels;
  const int sub = static_cast<int>(threadIdx.x) / pixels;
  const Pixel pixel = source.pixel(args, grid, block, static_cast<int>(threadIdx.x) - sub * pixels);
  const int points = sub < step ? pixel.points() : 0;
  const A share = A(1) / static_cast<A>(points);
  const T* input = static_cast<const T*>(args.input) + block.image * args.input_strides.image;
  const T* grads = static_cast<const T*>(args.grad_output) + block.image * args.grad_output_strides.image +
                   pixel.row * args.grad_output_strides.row + pixel.column * args.grad_output_strides.column;
  MatrixSums matrix(memory, to_points && !Source::kGiven);
  double given_x = 0, given_y = 0;
  for (int k = 0; k < points; ++k) {
    const typename Source::Point point = source.point(args, block, pixel, k);
    AxisTaps<K, A> x, y;
    find_taps<(K > 1)>(args.padding, point.source.x, args.width, x);
    find_taps<(K > 1)>(args.padding, point.source.y, args.height, y);
    const unsigned added = cross<K>(y.weighty(), x.weighty()), inside = cross<K>(y.inside, x.inside);
    if (inside == 0) continue;
    double slope_x = 0, slope_y = 0;
    for (int64_t c = block.first_channel + sub; c < block.last_channel; c += kGroup * step) {
      A part_x = 0, part_y = 0;
      for (int g = 0; g < kGroup; ++g) {
        const int64_t channel = c + g * step;
        if (channel >= block.last_channel) break;
        const A grad = to_sum(grads[channel * args.grad_output_strides.channel]) * share;
        if (to_input) {
          const Strides& to = args.grad_input_strides;
          const int64_t plane = block.image * to.image + channel * to.channel;
          for (int a = 0; a < K; ++a) {
            for (int b = 0; b < K; ++b) {
              if (!(added >> (a * K + b) & 1u)) continue;
              const int64_t at = plane + y.index[a] * to.row + x.index[b] * to.column;
              sums.add(at, grad * (y.weight[a] * x.weight[b]));
            }
          }
        }
        if (!to_points) continue;
        const T* plane = input + channel * args.input_strides.channel;
        A along_x = 0, along_y = 0;
        for (int a = 0; a < K; ++a) {
          A line = 0, slope = 0;
          for (int b = 0; b < K; ++b) {
            const bool read = inside >> (a * K + b) & 1u;
            const int64_t at = y.index[a] * args.input_strides.row + x.index[b] * args.input_strides.column;
            const A value = read ? to_sum(plane[at]) : A(0);
            line += value * x.weight[b];
            slope += value * x.slope[b];
          }
          along_x += slope * y.weight[a];
          along_y += line * y.slope[a];
        }
        part_x += along_x * grad;
        part_y += along_y * grad;
      }
      slope_x += static_cast<double>(part_x);
      slope_y += static_cast<double>(part_y);
    }
    if constexpr (Source::kGiven) {
      given_x = slope_x;
      given_y = slope_y;
    } else if (to_points) {
      matrix.add(point, slope_x, slope_y, args.matrix_rows == 3);
    }
  }
  if (!to_points) return;
  if constexpr (Source::kGiven && K > 1) {
    write_slopes(args, block, pixel, given_x, given_y, pixels, step, memory);
  } else {
    matrix.write(args.partial_sums);
  }
}

template <typename Source, typename T, int K>
inline void visit(const WarpArgs& args, const WarpGrid& grid) {
  using A = SumOf<T>;
  const unsigned blocks = blocks_for(args.images * grid.blocks(), 1);
  A* sums = static_cast<A*>(args.sums);
  if (args.sums == nullptr) {
    return launch(
        "visit_pixels", visit_pixels<Source, T, K>, blocks, kThreads, 0, args.stream, args, grid,
        EitherSum<A>(PlainSum<A>{sums}));
  }
  const int64_t count = args.images * args.channels * args.height * args.width;
  const int64_t pixels = args.out_height * args.out_width;
  const auto find = [&](ExactScale* scale) {
    // Under a border all taps of a pixel may meet in one: the absolute weights of bicubic ones add up to less than 2.
    find_scale(
        scale, static_cast<const T*>(args.grad_output), args.images * args.channels * pixels, 2.0,
        static_cast<double>(pixels), args.stream);
  };
  with_sums(args, sums, count, find, [&](auto form) {
    launch(
        "visit_pixels", visit_pixels<Source, T, K>, blocks, kThreads, 0, args.stream, args, grid, EitherSum<A>(form));
  });
}

template <typename Source>
inline void scatter_pixels(const WarpArgs& args, const WarpGrid& grid) {
  for_element_and_taps(args, [&](auto element, auto taps) {
    visit<Source, decltype(element), decltype(taps)::value>(args, grid);
  });
}

constexpr int kRoundThreads = 256, kRoundEach = 4;

template <typename T>
__global__ void __launch_bounds__(kRoundThreads) round_sums(const float* sums, T* out, int64_t count) {
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kRoundThreads + threadIdx.x) * kRoundEach;
  if (first + kRoundEach <= count) {
    const Pack<float, kRoundEach> pack = load_pack<float, kRoundEach>(sums + first);
    Pack<T, kRoundEach> rounded;
    for (int i = 0; i < kRoundEach; ++i) rounded.at[i] = from_sum<T>(pack.at[i]);
    store_pack(out + first, rounded);
  } else {
    for (int64_t i = first; i < count; ++i) out[i] = from_sum<T>(sums[i]);
  }
}

// Rounds the sums of the gradient to the input, where it is 16 bits wide.
inline void round_gradient(const WarpArgs& args) {
  if (args.grad_input == nullptr) return;
  for_element(args.element, [&](auto element) {
    using T = decltype(element);
    if constexpr (sizeof(T) == 2) {
      const int64_t count = args.images * args.channels * args.height * args.width;
      launch(
          "round_sums", round_sums<T>, blocks_for(count, kRoundThreads * kRoundEach), kRoundThreads, 0, args.stream,
          static_cast<const float*>(args.sums), static_cast<T*>(args.grad_input), count);
    }
  });
}

}  // namespace stn_det::cuda
