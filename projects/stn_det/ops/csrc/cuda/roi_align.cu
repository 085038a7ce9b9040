// RoIAlign on CUDA, average over each bin. The formula is that of the CPU's kernel, see there; how the work is divided
// stands in roi_tiles.h. Backward, taps add to the gradient, with the channels last where turning it pays.
#include "roi_tiles.h"
#include "sums.h"

namespace stn_det::cuda {
namespace {

// Sum of what the points of a bin read, from merged taps. Several loads are on their way before the first is used.
template <typename T, int kPack, typename A>
__device__ __forceinline__ void gather(
    const RoiWork& work, const RoiAxisTaps<A>& rows, const RoiAxisTaps<A>& columns, const T* from, A (&sum)[kPack]) {
  constexpr int kAtOnce = 4;
  for (int y = 0; y < rows.count; ++y) {
    const AxisTap<A> row = rows.taps[y];
    const T* line = from + row.place * work.row_stride;
    for (int x = 0; x < columns.count; x += kAtOnce) {
      Pack<T, kPack> read[kAtOnce];
      A weight[kAtOnce];
      for (int k = 0; k < kAtOnce; ++k) {
        if (x + k >= columns.count) continue;
        const AxisTap<A> column = columns.taps[x + k];
        read[k] = load_pack<T, kPack>(line + column.place * work.pixel_stride);
        weight[k] = row.weight * column.weight;
      }
      for (int k = 0; k < kAtOnce; ++k) {
        if (x + k >= columns.count) continue;
        for (int c = 0; c < kPack; ++c) sum[c] += to_sum(read[k].at[c]) * weight[k];
      }
    }
  }
}

template <typename T, int kPack>
__global__ void __launch_bounds__(kRoiThreads) average(RoiArgs args, RoiWork work, const T* features) {
  using A = SumOf<T>;
  STN_DET_DYNAMIC_SHARED(shared);
  const RoiShare share(args, work);
  const Frame<A> frame = static_cast<const Frame<A>*>(args.frames)[share.roi];
  A* tile = reinterpret_cast<A*>(shared + work.tile_at);
  const T* from = features + share.begin(work, frame);
  const auto add_to_tile = [&](int bin, int channel, const A (&sum)[kPack], bool is_first) {
    for (int c = 0; c < kPack; ++c) {
      A& place = tile[place_in_tile<kPack>(work, bin, channel + c)];
      place = is_first ? sum[c] : place + sum[c];
    }
  };
  if (frame.reads() && frame.upright()) {
    for_merged<kPack>(
        args, work, share, frame, reinterpret_cast<RoiAxisTaps<A>*>(shared),
        [&](int bin, int channel, const RoiAxisTaps<A>& rows, const RoiAxisTaps<A>& columns, bool is_first) {
          A sum[kPack] = {};
          gather<T, kPack>(work, rows, columns, from + channel * work.channel_stride, sum);
          add_to_tile(bin, channel, sum, is_first);
        });
  } else if (frame.reads()) {
    for_points<kPack>(
        args, work, share, frame, reinterpret_cast<RoiPoint<A>*>(shared), [](int, A, A) {},
        [&](int bin, int channel, const RoiPoint<A>* points, int, int count, int before) {
          A sum[kPack] = {};
          for (int i = 0; i < count; ++i) {
            add_point<T, kPack>(work, points[i], from + channel * work.channel_stride, sum);
          }
          add_to_tile(bin, channel, sum, before == 0);
        });
  }
  __syncthreads();
  T* output = static_cast<T*>(args.output);
  const bool reads = frame.reads();
  const A factor = A(1) / static_cast<A>(frame.grid_y * frame.grid_x);
  for_tile<kPack>(args, work, share, [&](int64_t index, int place) {
    output[index] = from_sum<T>(reads ? tile[place] * factor : A(0));
  });
}

// `Sums` collects the gradient of the features.
template <typename A, int kPack, typename Sums>
__global__ void __launch_bounds__(kRoiThreads) spread(RoiArgs args, RoiWork work, Sums sums) {
  STN_DET_DYNAMIC_SHARED(shared);
  const RoiShare share(args, work);
  const Frame<A> frame = static_cast<const Frame<A>*>(args.frames)[share.roi];
  if (!frame.reads()) return;
  A* tile = reinterpret_cast<A*>(shared + work.tile_at);
  const A factor = A(1) / static_cast<A>(frame.grid_y * frame.grid_x);
  read_tile<kPack>(args, work, share, static_cast<const A*>(args.grad_output), factor, tile);
  const int64_t begin = share.begin(work, frame);
  const auto read_grad = [&](int bin, int channel, A (&grad)[kPack]) {
    for (int c = 0; c < kPack; ++c) grad[c] = tile[place_in_tile<kPack>(work, bin, channel + c)];
  };
  const auto add = [&](int64_t at, const A (&grad)[kPack], A weight) {
    Pack<A, kPack> terms;
    for (int c = 0; c < kPack; ++c) terms.at[c] = grad[c] * weight;
    sums.template add_pack<kPack>(at, terms);
  };
  if (frame.upright()) {
    for_merged<kPack>(
        args, work, share, frame, reinterpret_cast<RoiAxisTaps<A>*>(shared),
        [&](int bin, int channel, const RoiAxisTaps<A>& rows, const RoiAxisTaps<A>& columns, bool) {
          const int64_t to = begin + channel * work.channel_stride;
          A grad[kPack];
          read_grad(bin, channel, grad);
          for (int y = 0; y < rows.count; ++y) {
            const AxisTap<A> row = rows.taps[y];
            const int64_t line = to + row.place * work.row_stride;
            for (int x = 0; x < columns.count; ++x) {
              const AxisTap<A> column = columns.taps[x];
              add(line + column.place * work.pixel_stride, grad, row.weight * column.weight);
            }
          }
        });
    return;
  }
  for_points<kPack>(
      args, work, share, frame, reinterpret_cast<RoiPoint<A>*>(shared), [](int, A, A) {},
      [&](int bin, int channel, const RoiPoint<A>* points, int, int count, int) {
        const int64_t to = begin + channel * work.channel_stride;
        A grad[kPack];
        read_grad(bin, channel, grad);
        for (int i = 0; i < count; ++i) {
          const RoiPoint<A> point = points[i];
          if (point.pixel < 0) continue;
          int64_t offset[4];
          A weight[4];
          find_offsets(work, point, offset);
          find_weights(point, weight);
          for (int k = 0; k < 4; ++k) add(to + offset[k], grad, weight[k]);
        }
      });
}

template <typename A, int kPack>
void backward(const RoiArgs& args, A* sums, bool planes, int64_t channels) {
  const A* grad_output = static_cast<const A*>(args.grad_output);
  const int64_t bins = args.rows * args.columns;
  with_sums(
      args, sums, args.images * args.height * args.width * channels,
      // A bin adds at most its gradient to a pixel.
      [&](ExactScale* scale) {
        find_scale(
            scale, grad_output, args.rois * args.channels * bins, 1.0,
            static_cast<double>(args.rois) * static_cast<double>(bins), args.stream);
      },
      [&](auto form) {
        constexpr int kOwnPack = kPackFor<decltype(form), kPack>;
        const RoiWork work =
            divide_work(args, kOwnPack, planes, channels, sizeof(A), kMergedBytes<A>, sizeof(RoiPoint<A>));
        launch(
            "roi_align_backward_input", spread<A, kOwnPack, decltype(form)>, blocks_of(args, work), kRoiThreads,
            work.shared_bytes, args.stream, args, work, form);
      });
}

}  // namespace

void roi_align_forward(const RoiArgs& args) {
  if (args.rois == 0 || args.channels == 0) return;
  for_element(args.element, [&](auto element) {
    using T = decltype(element);
    using A = SumOf<T>;
    launch_find_frames<A>(args);
    with_features<T>(args, [&](const T* features, auto pack, bool planes, int64_t channels) {
      const RoiWork work =
          divide_work(args, pack, planes, channels, sizeof(A), kMergedBytes<A>, sizeof(RoiPoint<A>));
      launch(
          "roi_align_forward", average<T, decltype(pack)::value>, blocks_of(args, work), kRoiThreads,
          work.shared_bytes, args.stream, args, work, features);
    });
  });
}

void roi_align_backward_input(const RoiArgs& args) {
  if (args.images == 0 || args.channels == 0 || args.height == 0 || args.width == 0) return;
  for_wide_element(args.element, [&](auto element) {
    using A = decltype(element);
    if (args.rois > 0) launch_find_frames<A>(args);
    if (args.pixels == nullptr) {
      if (args.rois > 0) backward<A, 1>(args, static_cast<A*>(args.grad_input), true, args.channels);
      return;
    }
    const int64_t channels = filled_up<A>(args.channels);
    if (args.rois > 0) backward<A, kWidest<A>>(args, static_cast<A*>(args.pixels), false, channels);
    launch_turn_to_planes<A>(
        {args.pixels, args.grad_input, args.images, args.channels, args.height * args.width, channels}, args.stream);
  });
}

}  // namespace stn_det::cuda
