// Gradient of RoIAlign to the RoIs on CUDA.
//
// One block a RoI, which goes over all bins and channels: each thread sums what its own channels and bins say about the
// frame, and the block adds that up in an order that never changes.
#include "roi_tiles.h"

namespace stn_det::cuda {
namespace {

constexpr int kPointsHeld = 8;  // of a bin

template <typename A>
struct Fractions {
  A v, u;
};

// Adds to `sums` the derivative of a pack of channels of one bin: to y, x, and both times v and times u.
template <typename T, int kPack, typename A>
__device__ __forceinline__ void visit_points(
    const RoiWork& work, const RoiPoint<A>* points, const Fractions<A>* fractions, int count, const T* from,
    const A (&grad)[kPack], A (&sums)[6]) {
  for (int i = 0; i < count; ++i) {
    const RoiPoint<A> point = points[i];
    if (point.pixel < 0) continue;
    int64_t offset[4];
    find_offsets(work, point, offset);
    A dot[4] = {};
    Pack<T, kPack> read[4];
    for (int k = 0; k < 4; ++k) read[k] = load_pack<T, kPack>(from + offset[k]);
    for (int k = 0; k < 4; ++k) {
      for (int c = 0; c < kPack; ++c) dot[k] += to_sum(read[k].at[c]) * grad[c];
    }
    A slope_y = (1 - point.x) * (dot[2] - dot[0]) + point.x * (dot[3] - dot[1]);
    A slope_x = (1 - point.y) * (dot[1] - dot[0]) + point.y * (dot[3] - dot[2]);
    slope_y = point.steps & kMovesY ? slope_y : A(0);
    slope_x = point.steps & kMovesX ? slope_x : A(0);
    const Fractions<A> at = fractions[i];
    sums[0] += slope_y;
    sums[1] += slope_x;
    sums[2] += at.v * slope_y;
    sums[3] += at.v * slope_x;
    sums[4] += at.u * slope_y;
    sums[5] += at.u * slope_x;
  }
}

template <typename T, int kPack>
__global__ void __launch_bounds__(kRoiThreads) visit_rois(RoiArgs args, RoiWork work, const T* features) {
  using A = SumOf<T>;
  STN_DET_DYNAMIC_SHARED(shared);
  __shared__ double parts[kRoiThreads / 32 * 6];
  RoiShare share(args, work);
  const int64_t roi = blockIdx.x;
  const Frame<A> frame = static_cast<const Frame<A>*>(args.frames)[roi];
  const int count = frame.reads() ? static_cast<int>(frame.grid_y * frame.grid_x) : 0;
  RoiPoint<A>* points = reinterpret_cast<RoiPoint<A>*>(shared);
  Fractions<A>* fractions = reinterpret_cast<Fractions<A>*>(points + work.bins * work.points);
  A* tile = reinterpret_cast<A*>(shared + work.tile_at);
  double total[6] = {};
  for (int64_t block = 0; count > 0 && block < work.channel_blocks * work.bin_blocks; ++block) {
    share.take(args, work, roi, block / work.bin_blocks, block % work.bin_blocks);
    const T* image = features + frame.image * work.image_stride + share.channel * work.channel_stride;
    if (block > 0) __syncthreads();
    read_tile<kPack>(args, work, share, static_cast<const A*>(args.grad_output), A(1), tile);
    for_points<kPack>(
        args, work, share, frame, points, [&](int place, A v, A u) { fractions[place] = {v, u}; },
        [&](int bin, int channel, const RoiPoint<A>* of_bin, int place, int held, int) {
          A grad[kPack], sums[6] = {};
          for (int c = 0; c < kPack; ++c) grad[c] = tile[place_in_tile<kPack>(work, bin, channel + c)];
          visit_points<T, kPack>(
              work, of_bin, fractions + place, held, image + channel * work.channel_stride, grad, sums);
          for (int k = 0; k < 6; ++k) total[k] += sums[k];
        });
  }
  for (int k = 0; k < 6; ++k) {
    for (int bits = 16; bits > 0; bits /= 2) total[k] += __shfl_xor_sync(0xffffffffu, total[k], bits);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32 * 6 + k] = total[k];
  }
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int k = 0; k < 6; ++k) {
    for (int warp = 1; warp < kRoiThreads / 32; ++warp) total[k] += parts[warp * 6 + k];
    total[k] = count > 0 ? total[k] / count : 0;
  }
  frame_to_roi_gradient(
      static_cast<const A*>(args.regions) + 6 * roi, total, args, static_cast<A*>(args.grad_rois) + 6 * roi);
}

}  // namespace

void roi_align_backward_frames(const RoiArgs& args) {
  if (args.rois == 0) return;
  for_element(args.element, [&](auto element) {
    using T = decltype(element);
    using A = SumOf<T>;
    launch_find_frames<A>(args);
    with_features<T>(args, [&](const T* features, auto pack, bool planes, int64_t channels) {
      constexpr int kBytes = sizeof(RoiPoint<A>) + sizeof(Fractions<A>);
      const RoiWork work = divide_work(args, pack, planes, channels, sizeof(A), kPointsHeld * kBytes, kBytes);
      launch(
          "roi_align_backward_frames", visit_rois<T, decltype(pack)::value>, blocks_for(args.rois, 1), kRoiThreads,
          work.shared_bytes, args.stream, args, work, features);
    });
  });
}

}  // namespace stn_det::cuda
