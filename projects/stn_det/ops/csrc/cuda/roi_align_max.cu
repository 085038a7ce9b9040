// RoIAlign on CUDA, maximum over the points of each bin; how the work is divided stands in roi_tiles.h.
//
// Of several largest points the first counts, and so does the first NaN.
#include "roi_tiles.h"
#include "sums.h"

namespace stn_det::cuda {
namespace {

constexpr int kPointsHeld = 8;  // of a bin

template <typename T, int kPack>
__global__ void __launch_bounds__(kRoiThreads) largest(RoiArgs args, RoiWork work, const T* features) {
  using A = SumOf<T>;
  STN_DET_DYNAMIC_SHARED(shared);
  const RoiShare share(args, work);
  const Frame<A> frame = static_cast<const Frame<A>*>(args.frames)[share.roi];
  A* tile = reinterpret_cast<A*>(shared + work.tile_at);
  int32_t* which_tile = reinterpret_cast<int32_t*>(tile + work.bins * work.row);
  const T* image = features + share.begin(work, frame);
  const bool reads = frame.reads();
  const auto visit = [&](int bin, int channel, const RoiPoint<A>* points, int, int count, int before) {
    const T* from = image + channel * work.channel_stride;
    A best[kPack];
    int which[kPack];
    for (int c = 0; c < kPack; ++c) {
      const int place = place_in_tile<kPack>(work, bin, channel + c);
      best[c] = before == 0 ? A(0) : tile[place];
      which[c] = before == 0 ? -1 : which_tile[place];
    }
    for (int i = 0; i < count; ++i) {
      A value[kPack] = {};
      add_point<T, kPack>(work, points[i], from, value);
      for (int c = 0; c < kPack; ++c) {
        const bool is_new_nan = value[c] != value[c] && best[c] == best[c];
        const bool better = which[c] < 0 || value[c] > best[c] || is_new_nan;
        best[c] = better ? value[c] : best[c];
        which[c] = better ? before + i : which[c];
      }
    }
    for (int c = 0; c < kPack; ++c) {
      const int place = place_in_tile<kPack>(work, bin, channel + c);
      tile[place] = best[c];
      which_tile[place] = which[c];
    }
  };
  if (reads) {
    for_points<kPack>(
        args, work, share, frame, reinterpret_cast<RoiPoint<A>*>(shared), [](int, A, A) {}, visit);
  }
  __syncthreads();
  T* output = static_cast<T*>(args.output);
  for_tile<kPack>(args, work, share, [&](int64_t index, int place) {
    output[index] = from_sum<T>(reads ? tile[place] : A(0));
    args.argmax[index] = reads ? which_tile[place] : 0;
  });
}

// One thread an element of the output at a time: each channel has a point of its own, so nothing is shared. A block
// takes `channels` of one RoI, which lie together.
template <typename A, typename Sums>
__global__ void __launch_bounds__(kRoiThreads) spread_largest(
    RoiArgs args, int64_t channels, int64_t channel_blocks, Sums sums) {
  const int64_t roi = blockIdx.x / channel_blocks, channel = (blockIdx.x - roi * channel_blocks) * channels;
  const Frame<A> frame = static_cast<const Frame<A>*>(args.frames)[roi];
  if (!frame.reads()) return;
  const int64_t bins = args.rows * args.columns, pixels = args.height * args.width;
  const int64_t most = args.channels - channel < channels ? args.channels - channel : channels;
  const int64_t begin = (roi * args.channels + channel) * bins;
  const int64_t plane = (frame.image * args.channels + channel) * pixels;
  const A* grad_output = static_cast<const A*>(args.grad_output) + begin;
  const int32_t* argmax = args.argmax + begin;
  const int count = static_cast<int>(frame.grid_y * frame.grid_x), width = static_cast<int>(args.width);
  for (int64_t c = 0, i = threadIdx.x; i < most * bins; i += kRoiThreads) {
    while (i >= (c + 1) * bins) ++c;
    const int which = argmax[i];
    if (which < 0 || which >= count) continue;
    A v, u, weight[4];
    const RoiPoint<A> point = find_point(args, frame, i - c * bins, which, v, u);
    if (point.pixel < 0) continue;
    find_weights(point, weight);
    const int right = point.steps & kStepsRight ? 1 : 0, below = point.steps & kStepsBelow ? width : 0;
    const int64_t at = plane + c * pixels + point.pixel;
    sums.add(at, grad_output[i] * weight[0]);
    sums.add(at + right, grad_output[i] * weight[1]);
    sums.add(at + below, grad_output[i] * weight[2]);
    sums.add(at + below + right, grad_output[i] * weight[3]);
  }
}

}  // namespace

void roi_align_max_forward(const RoiArgs& args) {
  if (args.rois == 0 || args.channels == 0) return;
  for_element(args.element, [&](auto element) {
    using T = decltype(element);
    using A = SumOf<T>;
    launch_find_frames<A>(args);
    with_features<T>(args, [&](const T* features, auto pack, bool planes, int64_t channels) {
      constexpr int kBytes = sizeof(A) + sizeof(int32_t);
      const RoiWork work = divide_work(
          args, pack, planes, channels, kBytes, kPointsHeld * sizeof(RoiPoint<A>), sizeof(RoiPoint<A>));
      launch(
          "roi_align_max_forward", largest<T, decltype(pack)::value>, blocks_of(args, work), kRoiThreads,
          work.shared_bytes, args.stream, args, work, features);
    });
  });
}

void roi_align_max_backward(const RoiArgs& args) {
  if (args.rois == 0 || args.channels == 0) return;
  constexpr int64_t kElements = 8 * kRoiThreads;  // of a block, about
  for_wide_element(args.element, [&](auto element) {
    using A = decltype(element);
    launch_find_frames<A>(args);
    const int64_t bins = args.rows * args.columns;
    const int64_t channels = std::clamp<int64_t>(kElements / bins, 1, args.channels);
    const int64_t channel_blocks = (args.channels + channels - 1) / channels;
    with_sums(
        args, static_cast<A*>(args.grad_input), args.images * args.channels * args.height * args.width,
        [&](ExactScale* scale) {
          find_scale(
              scale, static_cast<const A*>(args.grad_output), args.rois * args.channels * bins, 1.0,
              static_cast<double>(args.rois) * static_cast<double>(bins), args.stream);
        },
        [&](auto form) {
          launch(
              "roi_align_max_backward", spread_largest<A, decltype(form)>, blocks_for(args.rois * channel_blocks, 1),
              kRoiThreads, 0, args.stream, args, channels, channel_blocks, form);
        });
  });
}

}  // namespace stn_det::cuda
