// Multi-scale deformable attention on CUDA, forward. See ms_deform_attn_points.h for who does what.
//
// A point costs a group 8 + 8 bytes of shared memory for weights and pixel, four loads of 16 bytes a lane, and one
// conversion and one multiplication an element. Corners outside of a level have weight 0 and read a corner inside; a
// point without corners reads a page of zeros. So loads have no conditions, and no pixel is read that is not a corner.
#include "ms_deform_attn_points.h"

namespace stn_det::cuda {
namespace {

// A point as the lanes of its group need it.
template <typename A>
struct alignas(16) SharedWeights {
  A at[4];  // top left, top right, bottom left, bottom right
};

template <typename A>
constexpr int kSharedBytesPerPoint = sizeof(SharedWeights<A>) + sizeof(SharedPixel);

template <typename T, int kPack, bool kFused>
__global__ void __launch_bounds__(kGroupThreads, 4) attention_forward(AttentionArgs args, int lanes, int parts) {
  using A = SumOf<T>;
  STN_DET_DYNAMIC_SHARED(memory);
  const int groups = static_cast<int>(blockDim.x) / lanes, lane = static_cast<int>(threadIdx.x) % lanes;
  const int group = static_cast<int>(threadIdx.x) / lanes;
  SharedWeights<A>* weights = reinterpret_cast<SharedWeights<A>*>(memory) + group * kPitch;
  SharedPixel* pixels =
      reinterpret_cast<SharedPixel*>(memory + groups * kPitch * sizeof(SharedWeights<A>)) + group * kPitch;
  LevelShape* levels = reinterpret_cast<LevelShape*>(memory + groups * kPitch * kSharedBytesPerPoint<A>);
  const bool ordered = read_levels(args, levels);
  const GroupPlace place = place_group(args, levels, ordered, group, groups, parts);

  const int points = static_cast<int>(args.points), count = static_cast<int>(args.levels) * points;
  PointSource<A, kFused> source{args, levels, place.query, (place.query * args.heads + place.head) * count, 0};
  A scale = 1;
  if constexpr (kFused) scale = 1 / source.sum_weights(lane, lanes, count);

  const int channel = (place.part * lanes + lane) * kPack;
  const bool reads = channel < args.channels;
  const int64_t stride = args.heads * args.channels;
  const T* zeros = reinterpret_cast<const T*>(zero_page + lane);
  const T* base = static_cast<const T*>(args.value) + place.image * args.positions * stride +
                  place.head * args.channels + (reads ? channel : 0);
  A sums[kPack] = {};
  for (int begin = 0; begin < count; begin += kChunk) {
    const int length = min(kChunk, count - begin);
    for (int i = lane; i < length; i += lanes) {
      const int level = (begin + i) / points;
      const LevelShape shape = levels[level];
      const A weight = source.weight(begin + i);
      A x, y;
      source.locate(begin + i, level, x, y);
      const PointTaps<A> across = find_point_taps(x, shape.width), down = find_point_taps(y, shape.height);
      const bool inside = across.first >= 0 && down.first >= 0;
      // A level that does not fit the value cannot be refused here, where nobody waits for an answer: it shows as NaN.
      const A upper = inside ? weight * down.low : weight * (shape.height < 0 ? A(NAN) : A(0));
      const A lower = inside ? weight * down.high : upper;
      const A left = inside ? across.low : A(1), right = inside ? across.high : A(1);
      weights[i] = {{upper * left, upper * right, lower * left, lower * right}};
      pixels[i] = pixel_of(shape, across, down);
    }
    __syncwarp();
    if (reads) {
#pragma unroll 2
      for (int i = 0; i < length; ++i) {
        const SharedWeights<A> weight = weights[i];
        const SharedPixel pixel = pixels[i];
        const T* top = pixel.pixel < 0 ? zeros : base + pixel.pixel * stride;
        const T* bottom = top + (pixel.steps >> 1) * stride;
        const int64_t right = (pixel.steps & 1) * stride;
        const Pack<T, kPack> corners[4] = {
            load_pack<T, kPack>(top), load_pack<T, kPack>(top + right), load_pack<T, kPack>(bottom),
            load_pack<T, kPack>(bottom + right)};
#pragma unroll
        for (int c = 0; c < 4; ++c) {
#pragma unroll
          for (int k = 0; k < kPack; ++k) sums[k] += weight.at[c] * to_sum(corners[c].at[k]);
        }
      }
    }
    __syncwarp();
  }
  if (!reads || !place.active) return;
  Pack<T, kPack> out;
#pragma unroll
  for (int k = 0; k < kPack; ++k) out.at[k] = from_sum<T>(sums[k] * scale);
  store_pack(
      static_cast<T*>(args.output) + (place.query * args.heads + place.head) * args.channels + channel, out);
}

template <typename T, int kPack>
void run(const AttentionArgs& args) {
  using A = SumOf<T>;
  const Groups groups = groups_for(args.channels, kPack);
  const int parts = static_cast<int>((args.channels + groups.lanes * kPack - 1) / (groups.lanes * kPack));
  const unsigned blocks = blocks_for(blocks_of_groups(args, groups, parts), 1);
  const unsigned threads = static_cast<unsigned>(groups.lanes * groups.per_block);
  const size_t shared = static_cast<size_t>(groups.per_block * kPitch * kSharedBytesPerPoint<A>) +
                        static_cast<size_t>(args.levels) * sizeof(LevelShape);
  const auto kernel = is_fused(args) ? attention_forward<T, kPack, true> : attention_forward<T, kPack, false>;
  launch("ms_deform_attn", kernel, blocks, threads, shared, args.stream, args, groups.lanes, parts);
}

}  // namespace

// The entry point takes care of calls without anything to read.
void ms_deform_attn_forward(const AttentionArgs& args) {
  for_element(args.element, [&](auto element) {
    using T = decltype(element);
    fits_packs<T>(args.value, args.channels) && fits_packs<T>(args.output, args.channels) ? run<T, kWidest<T>>(args)
                                                                                            : run<T, 1>(args);
  });
}

}  // namespace stn_det::cuda
