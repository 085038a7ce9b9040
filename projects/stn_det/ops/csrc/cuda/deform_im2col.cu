// The sampling of deformable convolution on CUDA. The products are torch's.
//
//   columns[p, k, c] = mask[p, k] * bilinear(input[., ., c], base(p, k) + offset[p, k])
//
// What is sampled at one place is called a point here: an output pixel p, a kernel point k and a group d of channels
// that share offsets, counted in this order. A block takes consecutive points, so that it samples a small part of the
// map again and again, which its multiprocessor keeps, and writes one piece of memory. First a thread a point finds the
// four pixels and their weights. Then lanes side by side go over the channels of a point, 16 bytes each where groups
// are divisible by that and one channel each where not.
//
// Gradients of offset and mask are dot products over channels, summed by these lanes in an order that never changes;
// one thread writes each. The gradient of the input is added up in memory, see sums.h; it is kept in float32 for
// features of 16 bits, because thousands of terms may go to one pixel.
#include "../entry/deform_im2col.h"

#include <algorithm>

#include "sums.h"

namespace stn_det::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPointsAtLeast = 64;  // of a block, so that finding them is little beside reading their channels
constexpr int kMostLanes = 32;      // of a point; a warp can sum over them

// A point as its lanes see it. Where it reads nothing, no pixel is inside.
template <typename A>
struct alignas(16) Stop {
  A weights[4];     // of the pixels top left, top right, bottom left, bottom right, times the mask
  int64_t first;    // index in the input of the top left pixel's first channel in the group; valid where inside
  unsigned inside;  // bit i: pixel i lies on the map
};

template <typename A>
struct Point {
  A weights[4];         // 0 where outside
  A y_part, x_part;     // distance from the top and left pixels, in [0, 1)
  A factor;             // its mask value, or 1
  int64_t mask, offset;  // indices of its mask value and of its dy; dx is one plane further
};

template <typename A>
__device__ __forceinline__ Point<A> find_point(const DeformArgs& args, int64_t index, Stop<A>& stop) {
  const int64_t plane = args.out_height * args.out_width, points = args.kernel[0] * args.kernel[1];
  const int64_t at = index / args.offset_groups, group = index - at * args.offset_groups;
  const int64_t line = at / points, k = at - line * points, pixel = args.first + line;
  const int64_t image = pixel / plane, place = pixel - image * plane;
  const int64_t row = place / args.out_width, ky = k / args.kernel[1];
  const int64_t base_y = row * args.stride[0] - args.padding[0] + ky * args.dilation[0];
  const int64_t base_x = (place - row * args.out_width) * args.stride[1] - args.padding[1] +
                         (k - ky * args.kernel[1]) * args.dilation[1];
  Point<A> point;
  point.mask = ((image * args.offset_groups + group) * points + k) * plane + place;
  point.offset = 2 * point.mask - place;
  const A* offset = static_cast<const A*>(args.offset) + point.offset;
  const A y = static_cast<A>(base_y) + offset[0], x = static_cast<A>(base_x) + offset[plane];
  point.factor = args.mask != nullptr ? static_cast<const A*>(args.mask)[point.mask] : A(1);
  stop.inside = 0;
  stop.first = 0;
  point.y_part = point.x_part = 0;
  // Written so that NaN fails; converting NaN or a huge number to an integer is undefined.
  if (y > -1 && x > -1 && y < static_cast<A>(args.height) && x < static_cast<A>(args.width)) {
    const A y_floor = floor(y), x_floor = floor(x);
    const int64_t top = static_cast<int64_t>(y_floor), left = static_cast<int64_t>(x_floor);
    point.y_part = y - y_floor;
    point.x_part = x - x_floor;
    const bool has_top = top >= 0, has_bottom = top + 1 < args.height, has_left = left >= 0,
               has_right = left + 1 < args.width;
    stop.inside = (has_top && has_left ? 1u : 0u) | (has_top && has_right ? 2u : 0u) |
                  (has_bottom && has_left ? 4u : 0u) | (has_bottom && has_right ? 8u : 0u);
    stop.first = ((image * args.height + top) * args.width + left) * args.channels +
                 group * (args.channels / args.offset_groups);
  }
  const A top_part = 1 - point.y_part, left_part = 1 - point.x_part;
  const A weights[4] = {
      top_part * left_part, top_part * point.x_part, point.y_part * left_part, point.y_part * point.x_part};
  for (int i = 0; i < 4; ++i) {
    point.weights[i] = stop.inside >> i & 1 ? weights[i] : A(0);
    stop.weights[i] = point.weights[i] * point.factor;
  }
  return point;
}

// Index in the columns of a channel of a point.
__device__ __forceinline__ int64_t column_of(const DeformArgs& args, int64_t index, int64_t channel_in_group) {
  if (args.groups == 1) return index * (args.channels / args.offset_groups) + channel_in_group;
  const int64_t at = index / args.offset_groups, group = index - at * args.offset_groups;
  const int64_t channel = group * (args.channels / args.offset_groups) + channel_in_group;
  const int64_t convolved = args.channels / args.groups, of_convolution = channel / convolved;
  const int64_t plane = (args.last - args.first) * args.kernel[0] * args.kernel[1];
  return (of_convolution * plane + at) * convolved + channel - of_convolution * convolved;
}

// The same channels of the four pixels of a point; zeros where a pixel lies outside.
template <typename T, int kPack>
struct Four {
  Pack<T, kPack> at[4];

  __device__ __forceinline__ Four(const DeformArgs& args, int64_t first, unsigned inside) {
    const T* input = static_cast<const T*>(args.input) + first;
    for (int i = 0; i < 4; ++i) {
      at[i] = {};
      if (inside >> i & 1) at[i] = load_pack<T, kPack>(input + pixel(args, i));
    }
  }

  // Distance of pixel i from the first.
  static __device__ __forceinline__ int64_t pixel(const DeformArgs& args, int i) {
    return (i / 2 * args.width + i % 2) * args.channels;
  }
};

template <typename T, int kPack>
__global__ void __launch_bounds__(kThreads) sample_columns(DeformArgs args, int64_t points, int tile, int lanes) {
  using A = SumOf<T>;
  STN_DET_DYNAMIC_SHARED(memory);
  Stop<A>* stops = reinterpret_cast<Stop<A>*>(memory);
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * tile;
  const int count = static_cast<int>(points - begin < tile ? points - begin : tile);
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < count) find_point(args, begin + thread, stops[thread]);
  __syncthreads();
  const int64_t channels = args.channels / args.offset_groups;
  for (int i = thread / lanes; i < count; i += kThreads / lanes) {
    const Stop<A> stop = stops[i];
    for (int64_t channel = thread % lanes * kPack; channel < channels; channel += lanes * kPack) {
      const Four<T, kPack> pixels(args, stop.first + channel, stop.inside);
      Pack<T, kPack> out;
      for (int k = 0; k < kPack; ++k) {
        A sum = to_sum(pixels.at[0].at[k]) * stop.weights[0];
        for (int j = 1; j < 4; ++j) sum += to_sum(pixels.at[j].at[k]) * stop.weights[j];
        out.at[k] = from_sum<T>(sum);
      }
      store_pack(static_cast<T*>(args.columns) + column_of(args, begin + i, channel), out);
    }
  }
}

template <typename T, int kPack, typename Sums>
__global__ void __launch_bounds__(kThreads) sample_backward(
    DeformArgs args, Sums sums, int64_t points, int tile, int lanes) {
  using A = SumOf<T>;
  STN_DET_DYNAMIC_SHARED(memory);
  Stop<A>* stops = reinterpret_cast<Stop<A>*>(memory);
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * tile;
  const int count = static_cast<int>(points - begin < tile ? points - begin : tile);
  const int thread = static_cast<int>(threadIdx.x);
  Point<A> point;
  if (thread < count) point = find_point(args, begin + thread, stops[thread]);
  __syncthreads();
  A *grad_offset = static_cast<A*>(args.grad_offset), *grad_mask = static_cast<A*>(args.grad_mask);
  const bool of_points = grad_offset != nullptr || grad_mask != nullptr, of_input = args.grad_input != nullptr;
  const int64_t channels = args.channels / args.offset_groups;
  const int lane = thread % lanes;
  // All threads of a warp go through this equally often: they sum together.
  for (int first = 0; first < tile; first += kThreads / lanes) {
    const int i = first + thread / lanes;
    A dots[4] = {};
    if (i < count) {
      const Stop<A> stop = stops[i];
      for (int64_t channel = lane * kPack; channel < channels; channel += lanes * kPack) {
        const Pack<T, kPack> grad =
            load_pack<T, kPack>(static_cast<const T*>(args.grad_columns) + column_of(args, begin + i, channel));
        const int64_t at = stop.first + channel;
        if (of_points) {
          const Four<T, kPack> pixels(args, at, stop.inside);
          for (int j = 0; j < 4; ++j) {
            for (int k = 0; k < kPack; ++k) dots[j] += to_sum(pixels.at[j].at[k]) * to_sum(grad.at[k]);
          }
        }
        if (!of_input) continue;
        for (int j = 0; j < 4; ++j) {
          if (!(stop.inside >> j & 1)) continue;
          Pack<A, kPack> terms;
          for (int k = 0; k < kPack; ++k) terms.at[k] = to_sum(grad.at[k]) * stop.weights[j];
          sums.add_pack(at + Four<T, kPack>::pixel(args, j), terms);
        }
      }
    }
    if (!of_points) continue;
    for (int bits = lanes / 2; bits > 0; bits /= 2) {
      for (int j = 0; j < 4; ++j) dots[j] += __shfl_xor_sync(0xffffffffu, dots[j], bits);
    }
    // The weights have been read by all lanes of the point before the first shuffle, and nobody needs them again.
    if (i < count && lane == 0) {
      for (int j = 0; j < 4; ++j) stops[i].weights[j] = dots[j];
    }
  }
  if (!of_points) return;
  __syncthreads();
  if (thread >= count) return;
  const A* dot = stops[thread].weights;
  if (grad_mask != nullptr) {
    A sampled = 0;
    for (int j = 0; j < 4; ++j) sampled += point.weights[j] * dot[j];
    grad_mask[point.mask] = sampled;
  }
  if (grad_offset == nullptr) return;
  const A right = point.x_part, bottom = point.y_part;
  const A slope_y = (1 - right) * (dot[2] - dot[0]) + right * (dot[3] - dot[1]);
  const A slope_x = (1 - bottom) * (dot[1] - dot[0]) + bottom * (dot[3] - dot[2]);
  grad_offset[point.offset] = slope_y * point.factor;
  grad_offset[point.offset + args.out_height * args.out_width] = slope_x * point.factor;
}

// Lanes of a point that leave the fewest idle, the more the better.
int lanes_for(int64_t packs) {
  int best = kMostLanes;
  for (int lanes = best; lanes > 0; lanes /= 2) {
    const int64_t spent = (packs + lanes - 1) / lanes * lanes;
    if (spent < (packs + best - 1) / best * best) best = lanes;
  }
  return best;
}

// How a kernel is started; the numbers that do not depend on the dtype are those of its arguments.
struct Plan {
  int64_t points;
  int tile, lanes;
  unsigned blocks;

  Plan(const DeformArgs& args, int pack) {
    points = (args.last - args.first) * args.kernel[0] * args.kernel[1] * args.offset_groups;
    lanes = lanes_for(args.channels / args.offset_groups / pack);
    tile = std::max(kPointsAtLeast, kThreads / lanes);
    blocks = blocks_for(points, tile);
  }
};

// Calls visit(T(), pack) with the dtype of the features and the number of channels, a constant, that a lane takes.
template <typename Visit>
void for_packs(const DeformArgs& args, const void* columns, const Visit& visit) {
  for_element(args.element, [&](auto element) {
    using T = decltype(element);
    const int64_t shared = args.channels / args.offset_groups, convolved = args.channels / args.groups;
    const bool whole = fits_packs<T>(args.input, shared) && fits_packs<T>(columns, convolved) &&
                       fits_packs<T>(args.grad_input, shared);
    if (whole) return visit(element, std::integral_constant<int, kWidest<T>>());
    visit(element, std::integral_constant<int, 1>());
  });
}

}  // namespace

void deform_im2col_forward(const DeformArgs& args) {
  for_packs(args, args.columns, [&](auto element, auto pack) {
    using T = decltype(element);
    const Plan plan(args, pack);
    launch(
        "deform_im2col", sample_columns<T, pack()>, plan.blocks, kThreads, plan.tile * sizeof(Stop<SumOf<T>>),
        args.stream, args, plan.points, plan.tile, plan.lanes);
  });
}

void deform_im2col_backward(const DeformArgs& args) {
  for_packs(args, args.grad_columns, [&](auto element, auto pack) {
    using T = decltype(element);
    using A = SumOf<T>;
    const auto scatter = [&](auto sums) {
      constexpr int kPack = kPackFor<decltype(sums), pack()>;
      const Plan plan(args, kPack);
      launch(
          "deform_im2col_backward", sample_backward<T, kPack, decltype(sums)>, plan.blocks, kThreads,
          plan.tile * sizeof(Stop<A>), args.stream, args, sums, plan.points, plan.tile, plan.lanes);
    };
    A* grad_input = static_cast<A*>(args.grad_input);
    if (grad_input == nullptr) {
      // The other gradients have the same bits as beside that of the input.
      return args.deterministic ? scatter(ExactSum<A>{}) : scatter(PlainSum<A>{});
    }
    const int64_t plane = args.out_height * args.out_width, kernel = args.kernel[0] * args.kernel[1];
    const auto find_bound = [&](ExactScale* scale) {
      const T* grad = static_cast<const T*>(args.grad_columns);
      const int64_t count = (args.last - args.first) * kernel * args.channels;
      // A point adds one term at most to a pixel, with a weight of at most 1 before the mask.
      const double terms = static_cast<double>(std::min(args.last - args.first, plane)) * static_cast<double>(kernel);
      if (args.mask == nullptr) return find_scale(scale, grad, count, 1.0, terms, args.stream);
      const int64_t factors = args.images * args.offset_groups * kernel * plane;
      find_scale(scale, grad, count, static_cast<const A*>(args.mask), factors, terms, args.stream);
    };
    with_sums(args, grad_input, args.images * args.height * args.width * args.channels, find_bound, scatter);
  });
}

}  // namespace stn_det::cuda
