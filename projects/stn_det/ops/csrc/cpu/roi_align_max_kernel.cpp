// RoIAlign on the CPU, maximum over the points of each bin; compiled once per instruction set.
//
// Each channel has its own largest point, so nothing can be merged: every point is read in full. Of several largest
// points the first counts, and so does the first NaN. Backward: each task owns some channels of one image, as for the
// average.
#include "roi_pixels.h"

namespace stn_det::STN_DET_ISA {
namespace {

constexpr int64_t kChannelsOfTask = 16;

// What a point reads: four pixels and their weights; nothing if it lies outside.
template <typename A>
struct Reading {
  bool inside;
  int64_t pixel[4];
  A weight[4];
};

template <typename A>
Reading<A> reading_at(const PointGrid<A>& grid, int64_t i) {
  const int64_t pixel = grid.pixel[i], right = grid.right[i], below = grid.below[i];
  const A y = grid.y_part[i], x = grid.x_part[i];
  return {
      pixel >= 0,
      {pixel, pixel + right, pixel + below, pixel + below + right},
      {(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x}};
}

// Largest reading of one vector of channels, and which point it was.
template <typename T, typename A>
inline void largest(
    const T* value, int64_t stride, const std::vector<Reading<A>>& points, T* output, int32_t* argmax) {
  Vec<A> best = {};
  IntVec<A> which = {};
  for (size_t i = 0; i < points.size(); ++i) {
    Vec<A> read = {};
    if (points[i].inside) {
      for (int k = 0; k < 4; ++k) read += load<A>(value + points[i].pixel[k] * stride) * points[i].weight[k];
    }
    const IntVec<A> none = {}, index = none + static_cast<Int<A>>(i);
    const IntVec<A> better = i == 0 ? none - 1 : ((read > best) | ((read != read) & (best == best)));
    best = better ? read : best;
    which = better ? index : which;
  }
  store<A>(output, best);
  for (int64_t lane = 0; lane < kLanes<A>; ++lane) argmax[lane] = static_cast<int32_t>(which[lane]);
}

// All channels of one bin. The last vector of channels overlaps the one before it; fewer channels than a vector are
// copied to one.
template <typename T, typename A>
void pool_bin(const T* value, int64_t channels, const std::vector<Reading<A>>& points, T* output, int32_t* argmax) {
  if (channels < kLanes<A>) {
    std::vector<T> copy(4 * points.size() * kLanes<A>, T{});
    std::vector<Reading<A>> copied = points;
    for (size_t i = 0; i < points.size(); ++i) {
      for (int64_t k = 0; k < 4; ++k) {
        copied[i].pixel[k] = static_cast<int64_t>(4 * i) + k;
        if (!points[i].inside) continue;
        std::copy_n(value + points[i].pixel[k] * channels, channels, copy.data() + copied[i].pixel[k] * kLanes<A>);
      }
    }
    T largest_value[kLanes<A>];
    int32_t which[kLanes<A>];
    largest<T, A>(copy.data(), kLanes<A>, copied, largest_value, which);
    std::copy_n(largest_value, channels, output);
    std::copy_n(which, channels, argmax);
    return;
  }
  for (int64_t done = 0; done < channels; done += kLanes<A>) {
    const int64_t at = std::min(done, channels - kLanes<A>);
    largest<T, A>(value + at, channels, points, output + at, argmax + at);
  }
}

template <typename T, typename A>
void forward(const RoiArgs& args) {
  const T* pixels = channels_last_pixels<T, A>(args);
  const Frame<A>* frames = static_cast<const Frame<A>*>(args.frames);
  const int64_t channels = args.channels, bins = args.rows * args.columns;
  share_out(args, args.rois, [&](auto next) {
    PointGrid<A> grid(args.height, args.width, args.rows, args.columns);
    std::vector<Reading<A>> points;
    std::vector<T> tile(args.columns * channels);
    std::vector<int32_t> which(args.columns * channels);
    for (int64_t roi = next(); roi >= 0; roi = next()) {
      const Frame<A>& frame = frames[roi];
      T* output = static_cast<T*>(args.output) + roi * channels * bins;
      int32_t* argmax = args.argmax + roi * channels * bins;
      if (!frame.reads()) {
        std::fill_n(output, channels * bins, T{});
        std::fill_n(argmax, channels * bins, 0);
        continue;
      }
      grid.start(frame);
      points.resize(frame.grid_y * frame.grid_x);
      const T* image = pixels + frame.image * args.height * args.width * channels;
      for (int64_t row = 0; row < args.rows; ++row) {
        for (int64_t column = 0; column < args.columns; ++column) {
          const int64_t first = grid.find(row, column);
          for (int64_t y = 0; y < frame.grid_y; ++y) {
            for (int64_t x = 0; x < frame.grid_x; ++x) {
              points[y * frame.grid_x + x] = reading_at(grid, first + y * grid.line + x);
            }
          }
          pool_bin<T, A>(image, channels, points, tile.data() + column * channels, which.data() + column * channels);
        }
        transpose(tile.data(), channels, output + row * args.columns, bins, args.columns, channels);
        transpose(which.data(), channels, argmax + row * args.columns, bins, args.columns, channels);
      }
    }
  });
}

// Adds what one RoI sends back to the planes (count, H, W) of some channels.
template <typename A>
void spread(
    const RoiArgs& args, const Frame<A>& frame, PointGrid<A>& grid, int64_t offset, int64_t count, A* planes) {
  const int64_t bins = args.rows * args.columns, pixels = args.height * args.width;
  const A* grad = static_cast<const A*>(args.grad_output) + offset;
  const int32_t* argmax = args.argmax + offset;
  for (int64_t bin = 0; bin < bins; ++bin) {
    const int64_t first = grid.find(bin / args.columns, bin % args.columns);
    for (int64_t channel = 0; channel < count; ++channel) {
      const int64_t which = argmax[channel * bins + bin];
      if (which < 0 || which >= frame.grid_y * frame.grid_x) continue;
      const int64_t at = first + which / frame.grid_x * grid.line + which % frame.grid_x;
      const Reading<A> point = reading_at(grid, at);
      if (!point.inside) continue;
      A* plane = planes + channel * pixels;
      for (int k = 0; k < 4; ++k) plane[point.pixel[k]] += grad[channel * bins + bin] * point.weight[k];
    }
  }
}

template <typename A>
void backward(const RoiArgs& args) {
  const Frame<A>* frames = static_cast<const Frame<A>*>(args.frames);
  const int64_t bins = args.rows * args.columns, pixels = args.height * args.width;
  const int64_t slices = (args.channels + kChannelsOfTask - 1) / kChannelsOfTask;
  share_out(args, args.images * slices, [&](auto next) {
    PointGrid<A> grid(args.height, args.width, args.rows, args.columns);
    for (int64_t task = next(); task >= 0; task = next()) {
      const int64_t image = task / slices, channel = task % slices * kChannelsOfTask;
      const int64_t count = std::min(kChannelsOfTask, args.channels - channel);
      A* planes = static_cast<A*>(args.grad_input) + (image * args.channels + channel) * pixels;
      std::fill_n(planes, count * pixels, A(0));
      for (int64_t roi = 0; roi < args.rois; ++roi) {
        if (frames[roi].image != image || !frames[roi].reads()) continue;
        grid.start(frames[roi]);
        spread(args, frames[roi], grid, (roi * args.channels + channel) * bins, count, planes);
      }
    }
  });
}

}  // namespace

void roi_align_max_forward(const RoiArgs& args) {
  switch (args.element) {
    case Element::kFloat64: return forward<double, double>(args);
    case Element::kFloat32: return forward<float, float>(args);
    case Element::kFloat16: return forward<Float16, float>(args);
    case Element::kBFloat16: return forward<BFloat16, float>(args);
  }
}

void roi_align_max_backward(const RoiArgs& args) {
  args.element == Element::kFloat64 ? backward<double>(args) : backward<float>(args);
}

}  // namespace stn_det::STN_DET_ISA
