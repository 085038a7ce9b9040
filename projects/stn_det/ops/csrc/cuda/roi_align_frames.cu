// Gradient of RoIAlign to the RoIs on CUDA.
//
// A few blocks a RoI, which go over its bins and channels: each thread sums what its own channels and bins say about
// the frame, the block adds that up, and one thread a RoI adds up the blocks; all in an order that never changes.
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
__global__ void __launch_bounds__(kRoiThreads) visit_rois(
    RoiArgs args, RoiWork work, int parts, const T* features) {
  using A = SumOf<T>;
  STN_DET_DYNAMIC_SHARED(shared);
  __shared__ double warp_totals[kRoiThreads / 32 * 6];
  RoiShare share(args, work);
  const int64_t roi = blockIdx.x / parts, part = blockIdx.x % parts;
  const Frame<A> frame = static_cast<const Frame<A>*>(args.frames)[roi];
  const int count = frame.reads() ? static_cast<int>(frame.grid_y * frame.grid_x) : 0;
  RoiPoint<A>* points = reinterpret_cast<RoiPoint<A>*>(shared);
  Fractions<A>* fractions = reinterpret_cast<Fractions<A>*>(points + work.bins * work.points);
  A* tile = reinterpret_cast<A*>(shared + work.tile_at);
  double total[6] = {};
  for (int64_t block = part; count > 0 && block < work.channel_blocks * work.bin_blocks; block += parts) {
    share.take(args, work, roi, block / work.bin_blocks, block % work.bin_blocks);
    const T* image = features + share.begin(work, frame);
    if (block > part) __syncthreads();
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
    if (threadIdx.x % 32 == 0) warp_totals[threadIdx.x / 32 * 6 + k] = total[k];
  }
  __syncthreads();
  if (threadIdx.x >= 6) return;
  double sum = 0;
  for (int warp = 0; warp < kRoiThreads / 32; ++warp) sum += warp_totals[warp * 6 + threadIdx.x];
  args.grad_frames[static_cast<int64_t>(blockIdx.x) * 6 + threadIdx.x] = count > 0 ? sum / count : 0;
}

template <typename A>
__global__ void __launch_bounds__(kRoiThreads) add_parts(RoiArgs args, int parts) {
  const int64_t roi = static_cast<int64_t>(blockIdx.x) * kRoiThreads + threadIdx.x;
  if (roi >= args.rois) return;
  double total[6] = {};
  for (int part = 0; part < parts; ++part) {
    for (int k = 0; k < 6; ++k) total[k] += args.grad_frames[(roi * parts + part) * 6 + k];
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
      const int parts = static_cast<int>(std::min(kRoiParts, work.channel_blocks * work.bin_blocks));
      launch(
          "roi_align_backward_frames", visit_rois<T, decltype(pack)::value>, blocks_for(args.rois * parts, 1),
          kRoiThreads, work.shared_bytes, args.stream, args, work, parts, features);
      launch("add_parts", add_parts<A>, blocks_for(args.rois, kRoiThreads), kRoiThreads, 0, args.stream, args, parts);
    });
  });
}

}  // namespace stn_det::cuda
