// Gradient of RoIAlign to the RoIs on the CPU; compiled once per instruction set.
//
// The derivative of a bin to a point needs, of each of the point's four pixels, the dot product over channels of the
// pixel and the bin's gradient. These are computed once per pixel and bin; a point then only takes differences of them.
// One RoI at a time, each by one thread.
#include "roi_pixels.h"

namespace stn_det::STN_DET_ISA {
namespace {

// Dot products of four pixels with the gradient of a bin.
template <typename T, typename A>
inline void dot_four(const T* const* pixels, const A* grad, int64_t channels, A* out) {
  Vec<A> products[4] = {};
  int64_t channel = 0;
  for (; channel + kLanes<A> <= channels; channel += kLanes<A>) {
    const Vec<A> along = load<A>(grad + channel);
    for (int i = 0; i < 4; ++i) products[i] += load<A>(pixels[i] + channel) * along;
  }
  sum_four<A>(products, out);
  for (; channel < channels; ++channel) {
    for (int i = 0; i < 4; ++i) out[i] += widen<A>(pixels[i][channel]) * grad[channel];
  }
}

// Dot products of all pixels of a bin, into the weights of the list.
template <typename T, typename A>
void dot_pixels(const T* image, const A* grad, int64_t channels, TapList<A>& list) {
  for (int32_t first = 0; first < list.count; first += 4) {
    const T* pixels[4];
    A dots[4];
    for (int i = 0; i < 4; ++i) {
      pixels[i] = image + list.place[std::min(first + i, list.count - 1)] * channels;
    }
    dot_four<T, A>(pixels, grad, channels, dots);
    for (int i = 0; i < 4 && first + i < list.count; ++i) list.weight[first + i] = dots[i];
  }
}

// Adds the gradient of one bin to that of the frame.
template <typename T, typename A>
void visit_bin(
    const T* image, const A* grad, int64_t channels, const Frame<A>& frame, int64_t row, int64_t column,
    PointGrid<A>& grid, TapList<A>& list, double* total) {
  list.clear();
  const int64_t first = grid.find(row, column);
  for (int64_t step = 0; step < frame.grid_y; ++step) {
    for (int64_t i = first + step * grid.line; i < first + step * grid.line + frame.grid_x; ++i) {
      if (grid.pixel[i] < 0) continue;
      list.add(grid.pixel[i], 0);
      list.add(grid.pixel[i] + grid.right[i], 0);
      list.add(grid.pixel[i] + grid.below[i], 0);
      list.add(grid.pixel[i] + grid.right[i] + grid.below[i], 0);
    }
  }
  dot_pixels<T, A>(image, grad, channels, list);
  for (int64_t step = 0; step < frame.grid_y; ++step) {
    const double v = grid.v[row * frame.grid_y + step];
    for (int64_t k = 0; k < frame.grid_x; ++k) {
      const int64_t i = first + step * grid.line + k;
      if (grid.pixel[i] < 0) continue;
      const auto dot = [&](int64_t pixel) { return list.weight[list.slot(pixel)]; };
      const A top_left = dot(grid.pixel[i]), top_right = dot(grid.pixel[i] + grid.right[i]);
      const A bottom_left = dot(grid.pixel[i] + grid.below[i]);
      const A bottom_right = dot(grid.pixel[i] + grid.below[i] + grid.right[i]);
      const A y_part = grid.y_part[i], x_part = grid.x_part[i];
      A slope_y = (1 - x_part) * (bottom_left - top_left) + x_part * (bottom_right - top_right);
      A slope_x = (1 - y_part) * (top_right - top_left) + y_part * (bottom_right - bottom_left);
      slope_y = grid.y_moves[i] ? slope_y : 0;
      slope_x = grid.x_moves[i] ? slope_x : 0;
      const double u = grid.u[column * frame.grid_x + k];
      total[0] += slope_y;
      total[1] += slope_x;
      total[2] += v * slope_y;
      total[3] += v * slope_x;
      total[4] += u * slope_y;
      total[5] += u * slope_x;
    }
  }
}

template <typename T, typename A>
void backward_frames(const RoiArgs& args) {
  const T* pixels = channels_last_pixels<T, A>(args);
  const Frame<A>* frames = static_cast<const Frame<A>*>(args.frames);
  const int64_t channels = args.channels, bins = args.rows * args.columns;
  share_out(args, args.rois, [&](auto next) {
    TapList<A> list(args.height * args.width);
    PointGrid<A> grid(args.height, args.width, args.rows, args.columns);
    std::vector<A> tile(bins * channels);
    for (int64_t roi = next(); roi >= 0; roi = next()) {
      const Frame<A>& frame = frames[roi];
      double total[6] = {};
      if (frame.reads()) {
        const A* grad_output = static_cast<const A*>(args.grad_output) + roi * channels * bins;
        transpose(grad_output, bins, tile.data(), channels, channels, bins);
        grid.start(frame);
        list.reserve(4 * frame.grid_y * frame.grid_x);
        const T* image = pixels + frame.image * args.height * args.width * channels;
        for (int64_t bin = 0; bin < bins; ++bin) {
          visit_bin<T, A>(
              image, tile.data() + bin * channels, channels, frame, bin / args.columns, bin % args.columns, grid, list,
              total);
        }
        for (double& part : total) part /= static_cast<double>(frame.grid_y * frame.grid_x);
      }
      std::copy_n(total, 6, args.grad_frames + 6 * roi);
    }
  });
}

}  // namespace

void roi_align_backward_frames(const RoiArgs& args) {
  switch (args.element) {
    case Element::kFloat64: return backward_frames<double, double>(args);
    case Element::kFloat32: return backward_frames<float, float>(args);
    case Element::kFloat16: return backward_frames<Float16, float>(args);
    case Element::kBFloat16: return backward_frames<BFloat16, float>(args);
  }
}

}  // namespace stn_det::STN_DET_ISA
