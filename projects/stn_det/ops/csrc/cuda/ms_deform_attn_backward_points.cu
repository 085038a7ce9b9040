// Multi-scale deformable attention on CUDA: the gradients to where the points lie and what they weigh, and the whole
// backward pass. See ms_deform_attn_points.h for who does what.
//
// Each point reads its four corners again and multiplies them with the gradient of the output. The four dot products
// are summed over the lanes of a group with three exchanges and not with four times two, by sending away half of them
// at each step. One lane then makes the gradients of the point out of them: nothing is added up in memory.
#include "ms_deform_attn_points.h"

namespace stn_det::cuda {
namespace {

template <typename A>
struct alignas(16) SharedDots {
  A at[4];  // of the gradient of the output with the four corners
};

template <typename A>
constexpr int kSharedBytesPerPoint = sizeof(SharedDots<A>) + sizeof(SharedPixel);

// Adds the sums over the lanes of a group of four numbers to dots (or sets dots if `first`).
template <typename A>
__device__ __forceinline__ void sum_over_lanes(
    A d0, A d1, A d2, A d3, int lane, int lanes, bool first, SharedDots<A>& dots) {
  constexpr unsigned kAll = 0xffffffffu;
  if (lanes == 1) {
    dots = first ? SharedDots<A>{{d0, d1, d2, d3}}
                 : SharedDots<A>{{dots.at[0] + d0, dots.at[1] + d1, dots.at[2] + d2, dots.at[3] + d3}};
    return;
  }
  const bool odd = lane & 1;
  A e0 = (odd ? d2 : d0) + __shfl_xor_sync(kAll, odd ? d0 : d2, 1, lanes);
  A e1 = (odd ? d3 : d1) + __shfl_xor_sync(kAll, odd ? d1 : d3, 1, lanes);
  const int at = odd ? 2 : 0;
  if (lanes == 2) {
    dots.at[at] = first ? e0 : dots.at[at] + e0;
    dots.at[at + 1] = first ? e1 : dots.at[at + 1] + e1;
    return;
  }
  const bool upper = lane & 2;
  e0 = (upper ? e1 : e0) + __shfl_xor_sync(kAll, upper ? e0 : e1, 2, lanes);
  for (int bits = 4; bits < lanes; bits *= 2) e0 += __shfl_xor_sync(kAll, e0, bits, lanes);
  if (lane < 4) dots.at[at + upper] = first ? e0 : dots.at[at + upper] + e0;
}

template <typename T, int kPack, bool kFused>
__global__ void __launch_bounds__(kGroupThreads, 3) attention_backward_points(
    AttentionArgs args, int lanes, int parts) {
  using A = SumOf<T>;
  STN_DET_DYNAMIC_SHARED(memory);
  const int groups = static_cast<int>(blockDim.x) / lanes, lane = static_cast<int>(threadIdx.x) % lanes;
  const int group = static_cast<int>(threadIdx.x) / lanes;
  SharedDots<A>* dots = reinterpret_cast<SharedDots<A>*>(memory) + group * kPitch;
  SharedPixel* corners =
      reinterpret_cast<SharedPixel*>(memory + groups * kPitch * sizeof(SharedDots<A>)) + group * kPitch;
  LevelShape* levels = reinterpret_cast<LevelShape*>(memory + groups * kPitch * kSharedBytesPerPoint<A>);
  const bool ordered = read_levels(args, levels);
  const GroupPlace place = place_group(args, levels, ordered, group, groups, 1);

  const int points = static_cast<int>(args.points), count = static_cast<int>(args.levels) * points;
  PointSource<A, kFused> source{args, levels, place.query, (place.query * args.heads + place.head) * count, 0};
  A scale = 1;
  if constexpr (kFused) scale = 1 / source.sum_weights(lane, lanes, count);

  const int64_t stride = args.heads * args.channels;
  const T* zeros = reinterpret_cast<const T*>(zero_page + lane);
  const T* value =
      static_cast<const T*>(args.value) + place.image * args.positions * stride + place.head * args.channels;
  const T* grad_output =
      static_cast<const T*>(args.grad_output) + (place.query * args.heads + place.head) * args.channels;
  A* grad_weights = static_cast<A*>(args.grad_weights) + source.first;
  A* grad_points = static_cast<A*>(args.grad_locations) + 2 * source.first;
  A mean = 0;
  for (int begin = 0; begin < count; begin += kChunk) {
    const int length = min(kChunk, count - begin);
    for (int i = lane; i < length; i += lanes) {
      const int level = (begin + i) / points;
      const LevelShape shape = levels[level];
      A x, y;
      source.locate(begin + i, level, x, y);
      corners[i] = pixel_of(shape, find_point_taps(x, shape.width), find_point_taps(y, shape.height));
    }
    __syncwarp();
    for (int part = 0; part < parts; ++part) {
      const int channel = (part * lanes + lane) * kPack;
      const bool reads = channel < args.channels;
      Pack<T, kPack> grad = {};
      if (reads) grad = load_pack<T, kPack>(grad_output + channel);
#pragma unroll 2
      for (int i = 0; i < length; ++i) {
        const SharedPixel corner = corners[i];
        const T* top = corner.pixel < 0 || !reads ? zeros : value + corner.pixel * stride + channel;
        const T* bottom = top + (reads ? (corner.steps >> 1) * stride : 0);
        const int64_t right = reads ? (corner.steps & 1) * stride : 0;
        const Pack<T, kPack> packs[4] = {
            load_pack<T, kPack>(top), load_pack<T, kPack>(top + right), load_pack<T, kPack>(bottom),
            load_pack<T, kPack>(bottom + right)};
        A sums[4] = {};
#pragma unroll
        for (int c = 0; c < 4; ++c) {
#pragma unroll
          for (int k = 0; k < kPack; ++k) sums[c] += to_sum(grad.at[k]) * to_sum(packs[c].at[k]);
        }
        sum_over_lanes(sums[0], sums[1], sums[2], sums[3], lane, lanes, part == 0, dots[i]);
      }
    }
    __syncwarp();
    for (int i = lane; i < length; i += lanes) {
      const int level = (begin + i) / points;
      const LevelShape shape = levels[level];
      A x, y;
      source.locate(begin + i, level, x, y);
      const PointTaps<A> across = find_point_taps(x, shape.width), down = find_point_taps(y, shape.height);
      const A weight = source.weight(begin + i) * scale;
      A grad_x = 0, grad_y = 0, grad_weight = 0;
      if (across.first >= 0 && down.first >= 0) {
        const SharedDots<A> d = dots[i];
        const A top = across.low * d.at[0] + across.high * d.at[1];
        const A bottom = across.low * d.at[2] + across.high * d.at[3];
        const A top_slope = across.low_slope * d.at[0] + across.high_slope * d.at[1];
        const A bottom_slope = across.low_slope * d.at[2] + across.high_slope * d.at[3];
        grad_weight = down.low * top + down.high * bottom;
        grad_x = weight * (down.low * top_slope + down.high * bottom_slope);
        grad_y = weight * (down.low_slope * top + down.high_slope * bottom);
      }
      mean += weight * grad_weight;
      if constexpr (!kFused) {
        grad_x *= static_cast<A>(shape.width);
        grad_y *= static_cast<A>(shape.height);
      } else if (args.grad_references == nullptr) {
        const PointFrame<A> frame = source.frame_at(level);
        const A turned = frame.xx * grad_x + frame.yx * grad_y;
        grad_y = frame.xy * grad_x + frame.yy * grad_y;
        grad_x = turned;
      }
      if (place.active) {
        grad_weights[begin + i] = grad_weight;
        store_pack<A, 2>(grad_points + 2 * (begin + i), Pack<A, 2>{{grad_x, grad_y}});
      }
    }
    __syncwarp();
  }
  if constexpr (kFused) {
    for (int bits = lanes / 2; bits > 0; bits /= 2) mean += __shfl_xor_sync(0xffffffffu, mean, bits, lanes);
    if (!place.active) return;
    // Each lane comes back to the numbers that it wrote itself.
    for (int begin = 0; begin < count; begin += kChunk) {
      const int length = min(kChunk, count - begin);
      for (int i = begin + lane; i < begin + length; i += lanes) {
        grad_weights[i] = source.weight(i) * scale * (grad_weights[i] - mean);
      }
    }
  }
}

constexpr int kReferenceThreads = 128;

// From gradients to pixels, which stand in grad_locations, to those to offsets and references; a thread takes one level
// of a query, all heads and points.
template <typename A>
__global__ void __launch_bounds__(kReferenceThreads) attention_backward_references(AttentionArgs args) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kReferenceThreads + threadIdx.x;
  if (index >= args.images * args.queries * args.levels) return;
  const int64_t query = index / args.levels, level = index - query * args.levels;
  const A* reference = static_cast<const A*>(args.references) + index * args.reference_size;
  const A height = static_cast<A>(args.shapes[2 * level]), width = static_cast<A>(args.shapes[2 * level + 1]);
  const PointFrame<A> frame = frame_of<A>(reference, args.reference_size, height, width, args.points);
  PointFrame<A> grad = {};
  for (int64_t head = 0; head < args.heads; ++head) {
    const int64_t first = 2 * ((query * args.heads + head) * args.levels + level) * args.points;
    const A* offsets = static_cast<const A*>(args.offsets) + first;
    A* grads = static_cast<A*>(args.grad_locations) + first;
    for (int64_t i = 0; i < args.points; ++i) {
      const Pack<A, 2> to_pixel = load_pack<A, 2>(grads + 2 * i), offset = load_pack<A, 2>(offsets + 2 * i);
      const A grad_x = to_pixel.at[0], grad_y = to_pixel.at[1];
      grad.origin_x += grad_x;
      grad.origin_y += grad_y;
      grad.xx += grad_x * offset.at[0];
      grad.xy += grad_x * offset.at[1];
      grad.yx += grad_y * offset.at[0];
      grad.yy += grad_y * offset.at[1];
      if (args.reference_size == 2) continue;  // the offsets are pixels
      store_pack<A, 2>(
          grads + 2 * i,
          Pack<A, 2>{{frame.xx * grad_x + frame.yx * grad_y, frame.xy * grad_x + frame.yy * grad_y}});
    }
  }
  frame_backward<A>(
      reference, args.reference_size, height, width, args.points, grad,
      static_cast<A*>(args.grad_references) + index * args.reference_size);
}

template <typename T, int kPack>
void run(const AttentionArgs& args) {
  using A = SumOf<T>;
  const Groups groups = groups_for(args.channels, kPack);
  const int parts = static_cast<int>((args.channels + groups.lanes * kPack - 1) / (groups.lanes * kPack));
  const unsigned blocks = blocks_for(blocks_of_groups(args, groups, 1), 1);
  const unsigned threads = static_cast<unsigned>(groups.lanes * groups.per_block);
  const size_t shared = static_cast<size_t>(groups.per_block * kPitch * kSharedBytesPerPoint<A>) +
                        static_cast<size_t>(args.levels) * sizeof(LevelShape);
  const auto kernel =
      is_fused(args) ? attention_backward_points<T, kPack, true> : attention_backward_points<T, kPack, false>;
  launch("ms_deform_attn_backward_points", kernel, blocks, threads, shared, args.stream, args, groups.lanes, parts);
  if (args.grad_references == nullptr) return;
  launch(
      "ms_deform_attn_backward_references", attention_backward_references<A>,
      blocks_for(args.images * args.queries * args.levels, kReferenceThreads), kReferenceThreads, 0, args.stream, args);
}

}  // namespace

// The entry point takes care of calls without anything to read.
void ms_deform_attn_backward(const AttentionArgs& args) {
  for_element(args.element, [&](auto element) {
    using T = decltype(element);
    const bool packs = fits_packs<T>(args.value, args.channels) && fits_packs<T>(args.grad_output, args.channels);
    packs ? run<T, kWidest<T>>(args) : run<T, 1>(args);
  });
  ms_deform_attn_backward_value(args);
}

}  // namespace stn_det::cuda
