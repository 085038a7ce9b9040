// The sampling of deformable convolution on the CPU; compiled once per instruction set. The products are torch's.
//
//   columns[p, k, c] = mask[p, k] * bilinear(input[., ., c], base(p, k) + offset[p, k])
//
// Channels lie side by side in every large tensor, so that the four pixels around a point are found once and then
// summed over vectors of channels. Forward and the gradients of offset and mask: parallel over output pixels.
//
// Gradient of the input: one task owns the pixels of some columns (x) of one image. It goes through all points of the
// range in their order and skips those that lie elsewhere. So there are no atomics, and the result depends neither on
// the number of threads nor on how the output is cut into ranges. Columns, because a range is a few rows and would keep
// few owners of rows busy. A task that owned some channels of every pixel was 2 to 9 times as slow: pixels lie a power
// of two bytes apart, so that their slices compete for the same few sets of the cache.
#include <algorithm>
#include <cmath>
#include <vector>

#include "../entry/deform_im2col.h"
#include "simd.h"

namespace stn_det::STN_DET_ISA {
namespace {

constexpr int64_t kPixelsAtLeast = 8;  // a thread is not worth waking for fewer
constexpr int64_t kTasksPerThread = 2;

// The four pixels around a point: top left, top right, bottom left, bottom right.
template <typename A>
struct Corners {
  bool inside[4];
  int64_t left;           // column of the left pixels; the width of the image where none is inside
  int64_t pixel[4] = {};  // index in the image, valid where inside
  A weight[4];            // 0 where outside
  A y_part, x_part;       // distance from the top and left pixels, in [0, 1)

  __attribute__((always_inline)) void find(A y, A x, int64_t height, int64_t width) {
    // Written so that NaN fails; converting NaN or a huge number to an integer is undefined.
    if (!(y > -1 && x > -1 && y < static_cast<A>(height) && x < static_cast<A>(width))) {
      for (int i = 0; i < 4; ++i) inside[i] = false, weight[i] = 0;
      y_part = x_part = 0;
      left = width;
      return;
    }
    const A y_floor = std::floor(y), x_floor = std::floor(x);
    y_part = y - y_floor;
    x_part = x - x_floor;
    const int64_t row = static_cast<int64_t>(y_floor);
    left = static_cast<int64_t>(x_floor);
    const bool has_top = row >= 0, has_bottom = row + 1 < height, has_left = left >= 0, has_right = left + 1 < width;
    inside[0] = has_top && has_left;
    inside[1] = has_top && has_right;
    inside[2] = has_bottom && has_left;
    inside[3] = has_bottom && has_right;
    pixel[0] = row * width + left;
    pixel[1] = pixel[0] + 1;
    pixel[2] = pixel[0] + width;
    pixel[3] = pixel[2] + 1;
    weight[0] = inside[0] ? (1 - y_part) * (1 - x_part) : A(0);
    weight[1] = inside[1] ? (1 - y_part) * x_part : A(0);
    weight[2] = inside[2] ? y_part * (1 - x_part) : A(0);
    weight[3] = inside[3] ? y_part * x_part : A(0);
  }
};

// Channels that share offsets and lie side by side in the columns.
struct Segment {
  int64_t offset_group;
  int64_t channel, length;  // in the input
  int64_t column;           // of the first channel, from the first column of pixel 0 and kernel point 0
};

using Segments = std::vector<Segment>;

// Cuts the channels at the borders of both kinds of groups.
Segments cut_channels(const DeformArgs& args) {
  const int64_t shared = args.channels / args.offset_groups, convolved = args.channels / args.groups;
  const int64_t plane = (args.last - args.first) * args.kernel[0] * args.kernel[1] * convolved;
  Segments segments;
  for (int64_t channel = 0; channel < args.channels;) {
    const int64_t next = std::min((channel / shared + 1) * shared, (channel / convolved + 1) * convolved);
    const int64_t column = channel / convolved * plane + channel % convolved;
    segments.push_back({channel / shared, channel, next - channel, column});
    channel = next;
  }
  return segments;
}

// A kernel point of an output pixel in one group of offsets, and the channels that are sampled there.
template <typename A>
struct Point {
  Corners<A> corners;
  A factor;                   // its mask value, or 1
  int64_t mask, offset;       // indices of its mask value and of its dy; dx is one plane further
  int64_t column;             // index of pixel and kernel point in the columns
  const Segment *begin, *end;
};

// Calls visit(point) for all points of the output pixels in [begin, end), pixel by pixel.
template <typename A, typename Visit>
inline void for_points(const DeformArgs& args, const Segments& segments, int64_t begin, int64_t end, Visit visit) {
  const int64_t plane = args.out_height * args.out_width, points = args.kernel[0] * args.kernel[1];
  const A *offset = static_cast<const A*>(args.offset), *mask = static_cast<const A*>(args.mask);
  const Segment* last = segments.data() + segments.size();
  Point<A> point;
  for (int64_t pixel = begin; pixel < end; ++pixel) {
    const int64_t image = pixel / plane, place = pixel % plane;
    const int64_t first_y = place / args.out_width * args.stride[0] - args.padding[0];
    const int64_t first_x = place % args.out_width * args.stride[1] - args.padding[1];
    for (point.begin = segments.data(); point.begin != last; point.begin = point.end) {
      const int64_t group = point.begin->offset_group, first = (image * args.offset_groups + group) * points;
      for (point.end = point.begin; point.end != last && point.end->offset_group == group;) ++point.end;
      point.mask = first * plane + place;
      point.offset = 2 * first * plane + place;
      point.column = (pixel - args.first) * points;
      for (int64_t ky = 0; ky < args.kernel[0]; ++ky) {
        for (int64_t kx = 0; kx < args.kernel[1]; ++kx) {
          point.corners.find(
              static_cast<A>(first_y + ky * args.dilation[0]) + offset[point.offset],
              static_cast<A>(first_x + kx * args.dilation[1]) + offset[point.offset + plane], args.height, args.width);
          point.factor = mask != nullptr ? mask[point.mask] : A(1);
          visit(point);
          point.mask += plane;
          point.offset += 2 * plane;
          ++point.column;
        }
      }
    }
  }
}

// The four pixels around a point; what lies outside the input reads `zeros`.
template <typename A>
struct Sources {
  const A* pixels[4];  // channel 0

  Sources(const DeformArgs& args, const Corners<A>& corners, int64_t image, const A* zeros) {
    const A* input = static_cast<const A*>(args.input) + image * args.height * args.width * args.channels;
    for (int i = 0; i < 4; ++i) pixels[i] = corners.inside[i] ? input + corners.pixel[i] * args.channels : zeros;
  }

  // Weighted sum of the pixels.
  inline void sum(const A* weights, int64_t channel, int64_t length, A* output) const {
    int64_t done = 0;
    for (; done + kLanes<A> <= length; done += kLanes<A>) {
      Vec<A> total = load<A>(pixels[0] + channel + done) * weights[0];
      for (int i = 1; i < 4; ++i) total += load<A>(pixels[i] + channel + done) * weights[i];
      store<A>(output + done, total);
    }
    for (; done < length; ++done) {
      A total = pixels[0][channel + done] * weights[0];
      for (int i = 1; i < 4; ++i) total += pixels[i][channel + done] * weights[i];
      output[done] = total;
    }
  }

  // Adds the dot products of a gradient with the pixels to `products`, and what is left of the channels to `rest`.
  inline void multiply(const A* grad, int64_t channel, int64_t length, Vec<A>* products, A* rest) const {
    int64_t done = 0;
    for (; done + kLanes<A> <= length; done += kLanes<A>) {
      const Vec<A> part = load<A>(grad + done);
      for (int i = 0; i < 4; ++i) products[i] += load<A>(pixels[i] + channel + done) * part;
    }
    for (; done < length; ++done) {
      for (int i = 0; i < 4; ++i) rest[i] += pixels[i][channel + done] * grad[done];
    }
  }
};

template <typename A>
void forward(const DeformArgs& args) {
  const Segments segments = cut_channels(args);
  const std::vector<A> zeros(args.channels);
  const int64_t plane = args.out_height * args.out_width, per_group = args.channels / args.groups;
  for_ranges(args.parallel_for, args.first, args.last, kPixelsAtLeast, [&](int64_t begin, int64_t end) {
    for (int64_t pixel = begin; pixel < end; ++pixel) {
      for_points<A>(args, segments, pixel, pixel + 1, [&, image = pixel / plane](const Point<A>& point) {
        const Sources<A> sources(args, point.corners, image, zeros.data());
        A weights[4];
        for (int i = 0; i < 4; ++i) weights[i] = point.corners.weight[i] * point.factor;
        for (const Segment* part = point.begin; part != point.end; ++part) {
          A* output = static_cast<A*>(args.columns) + part->column + point.column * per_group;
          sources.sum(weights, part->channel, part->length, output);
        }
      });
    }
  });
}

// Gradients of offset and mask.
template <typename A>
void backward_points(const DeformArgs& args) {
  const Segments segments = cut_channels(args);
  const std::vector<A> zeros(args.channels);
  const int64_t plane = args.out_height * args.out_width, per_group = args.channels / args.groups;
  A *grad_offset = static_cast<A*>(args.grad_offset), *grad_mask = static_cast<A*>(args.grad_mask);
  for_ranges(args.parallel_for, args.first, args.last, kPixelsAtLeast, [&](int64_t begin, int64_t end) {
    for (int64_t pixel = begin; pixel < end; ++pixel) {
      for_points<A>(args, segments, pixel, pixel + 1, [&, image = pixel / plane](const Point<A>& point) {
        const Sources<A> sources(args, point.corners, image, zeros.data());
        Vec<A> products[4] = {};
        A dot[4], rest[4] = {}, sampled = 0;
        for (const Segment* part = point.begin; part != point.end; ++part) {
          const A* grad = static_cast<const A*>(args.grad_columns) + part->column + point.column * per_group;
          sources.multiply(grad, part->channel, part->length, products, rest);
        }
        sum_four<A>(products, dot);
        for (int i = 0; i < 4; ++i) {
          dot[i] += rest[i];
          sampled += point.corners.weight[i] * dot[i];
        }
        if (grad_mask != nullptr) grad_mask[point.mask] = sampled;
        if (grad_offset == nullptr) return;
        const A right = point.corners.x_part, bottom = point.corners.y_part;
        const A slope_y = (1 - right) * (dot[2] - dot[0]) + right * (dot[3] - dot[1]);
        const A slope_x = (1 - bottom) * (dot[1] - dot[0]) + bottom * (dot[3] - dot[2]);
        grad_offset[point.offset] = slope_y * point.factor;
        grad_offset[point.offset + plane] = slope_x * point.factor;
      });
    }
  });
}

// The pixels of a point that lie in some columns, and their weights.
template <typename A>
struct Targets {
  int count = 0;
  A* pixels[4];  // channel 0
  A weights[4];

  Targets(const Corners<A>& corners, A factor, A* image, int64_t channels, int64_t first_column, int64_t last_column) {
    for (int i = 0; i < 4; ++i) {
      const int64_t column = corners.left + i % 2;
      if (!corners.inside[i] || column < first_column || column >= last_column) continue;
      pixels[count] = image + corners.pixel[i] * channels;
      weights[count++] = corners.weight[i] * factor;
    }
  }

  // Adds the gradient of a column, `length` channels from `channel` on.
  inline void add(const A* grad, int64_t channel, int64_t length) const {
    int64_t done = 0;
    if (count == 4) {
      for (; done + kLanes<A> <= length; done += kLanes<A>) {
        const Vec<A> part = load<A>(grad + done);
        Vec<A> sums[4];
        for (int i = 0; i < 4; ++i) sums[i] = load<A>(pixels[i] + channel + done) + part * weights[i];
        for (int i = 0; i < 4; ++i) store<A>(pixels[i] + channel + done, sums[i]);
      }
    }
    for (int i = 0; i < count; ++i) {
      A* target = pixels[i] + channel;
      int64_t at = done;
      for (; at + kLanes<A> <= length; at += kLanes<A>) {
        store<A>(target + at, load<A>(target + at) + load<A>(grad + at) * weights[i]);
      }
      for (; at < length; ++at) target[at] += grad[at] * weights[i];
    }
  }
};

template <typename A>
void backward_input(const DeformArgs& args) {
  const Segments segments = cut_channels(args);
  const int64_t plane = args.out_height * args.out_width, per_group = args.channels / args.groups;
  const int64_t first_image = args.first / plane, images = (args.last - 1) / plane + 1 - first_image;
  const int64_t bands = std::clamp<int64_t>((kTasksPerThread * args.threads + images - 1) / images, 1, args.width);
  for_ranges(args.parallel_for, 0, images * bands, 1, [&](int64_t first_task, int64_t last_task) {
    for (int64_t task = first_task; task < last_task; ++task) {
      const int64_t image = first_image + task / bands, band = task % bands;
      const int64_t left = band * args.width / bands, right = (band + 1) * args.width / bands;
      const int64_t begin = std::max(args.first, image * plane), end = std::min(args.last, (image + 1) * plane);
      A* grad_image = static_cast<A*>(args.grad_input) + image * args.height * args.width * args.channels;
      for_points<A>(args, segments, begin, end, [&](const Point<A>& point) {
        if (point.corners.left + 1 < left || point.corners.left >= right) return;
        const Targets<A> targets(point.corners, point.factor, grad_image, args.channels, left, right);
        for (const Segment* part = point.begin; part != point.end; ++part) {
          const A* grad = static_cast<const A*>(args.grad_columns) + part->column + point.column * per_group;
          targets.add(grad, part->channel, part->length);
        }
      });
    }
  });
}

template <typename A>
void backward(const DeformArgs& args) {
  if (args.grad_offset != nullptr || args.grad_mask != nullptr) backward_points<A>(args);
  if (args.grad_input != nullptr) backward_input<A>(args);
}

}  // namespace

void deform_im2col_forward(const DeformArgs& args) {
  args.element == Element::kFloat64 ? forward<double>(args) : forward<float>(args);
}

void deform_im2col_backward(const DeformArgs& args) {
  args.element == Element::kFloat64 ? backward<double>(args) : backward<float>(args);
}

}  // namespace stn_det::STN_DET_ISA
