// Multi-scale deformable attention on the CPU; compiled once per instruction set.
//
// Forward: one row (image, head, query) at a time. Its sampling points become a list of taps, a pixel and a weight each,
// which is then summed over blocks of channels that stay in registers. Rows are taken head by head, because the pixels of
// neighbouring queries in one head are what fits into the cache.
//
// Backward: one task for each (image, head, level). The value gradients of two tasks never touch, so there are no atomics
// and the result does not depend on the number of threads.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <type_traits>
#include <vector>

#include "ms_deform_attn.h"
#include "simd.h"

namespace stn_det::STN_DET_ISA {
namespace {

constexpr int64_t kPointsAtOnce = 4;  // whose pixels are asked for before any is used

// The four pixels around a point and what they weigh; a pixel outside the level weighs nothing and is not read.
template <typename A>
struct Corners {
  bool inside[4];       // top left, top right, bottom left, bottom right
  int64_t pixel[4];     // index in the level, valid where inside
  A weight[4];
  A x_part, y_part;     // distance from the left and top pixels, in [0, 1)

  // Location (x, y) as a fraction of the level; whether it touches the level.
  __attribute__((always_inline)) bool find(A x, A y, int64_t height, int64_t width) {
    x = x * static_cast<A>(width) - A(0.5);
    y = y * static_cast<A>(height) - A(0.5);
    // Written so that NaN fails; converting NaN or a huge number to an integer is undefined.
    if (!(x > -1 && y > -1 && x < static_cast<A>(width) && y < static_cast<A>(height))) {
      inside[0] = inside[1] = inside[2] = inside[3] = false;
      return false;
    }
    const A left = std::floor(x), top = std::floor(y);
    x_part = x - left;
    y_part = y - top;
    const int64_t column = static_cast<int64_t>(left), row = static_cast<int64_t>(top);
    const bool has_left = column >= 0, has_right = column + 1 < width;
    const bool has_top = row >= 0, has_bottom = row + 1 < height;
    inside[0] = has_top && has_left;
    inside[1] = has_top && has_right;
    inside[2] = has_bottom && has_left;
    inside[3] = has_bottom && has_right;
    pixel[0] = row * width + column;
    pixel[1] = pixel[0] + 1;
    pixel[2] = pixel[0] + width;
    pixel[3] = pixel[2] + 1;
    weight[0] = (1 - y_part) * (1 - x_part);
    weight[1] = (1 - y_part) * x_part;
    weight[2] = y_part * (1 - x_part);
    weight[3] = y_part * x_part;
    return true;
  }
};

// Asks for the first 128 bytes of a pixel: its 32 channels in float32. The points of a row are far apart in memory, and
// nothing else tells the processor where the next one lies.
inline void prefetch_pixel(const void* pixel) {
  __builtin_prefetch(pixel);
  __builtin_prefetch(static_cast<const char*>(pixel) + 64);
}

template <typename A>
struct Tap {
  int64_t offset;  // of the first channel, from the image's and head's first value
  A weight;
};

// Appends the taps of one row to `taps`, which has room for 4 * L * K; returns their number.
template <typename T, typename A>
int64_t collect_taps(const AttentionArgs& args, const T* value, const A* locations, const A* weights, Tap<A>* taps) {
  const int64_t stride = args.heads * args.channels;
  int64_t count = 0;
  for (int64_t level = 0; level < args.levels; ++level) {
    const int64_t height = args.shapes[2 * level], width = args.shapes[2 * level + 1];
    const int64_t start = args.starts[level];
    for (int64_t point = 0; point < args.points; ++point, locations += 2, ++weights) {
      Corners<A> corners;
      if (!corners.find(locations[0], locations[1], height, width)) continue;
      for (int corner = 0; corner < 4; ++corner) {
        if (!corners.inside[corner]) continue;
        taps[count] = {(start + corners.pixel[corner]) * stride, corners.weight[corner] * *weights};
        prefetch_pixel(value + taps[count].offset);
        ++count;
      }
    }
  }
  return count;
}

// Weighted sum of `Blocks` vectors of channels over all taps.
template <int Blocks, typename T, typename A>
inline void sum_taps(const T* value, const Tap<A>* taps, int64_t count, T* output) {
  Vec<A> total[Blocks] = {};
  for (int64_t tap = 0; tap < count; ++tap) {
    const T* pixel = value + taps[tap].offset;
    for (int block = 0; block < Blocks; ++block) total[block] += load<A>(pixel + block * kLanes<A>) * taps[tap].weight;
  }
  for (int block = 0; block < Blocks; ++block) store<A>(output + block * kLanes<A>, total[block]);
}

template <typename T, typename A>
void forward_rows(const AttentionArgs& args, int64_t begin, int64_t end, Tap<A>* taps) {
  const int64_t samples = args.levels * args.points, channels = args.channels;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t head = row % args.heads, image = row / args.heads / args.queries, index = row;
    const A* locations = static_cast<const A*>(args.locations) + 2 * index * samples;
    const A* weights = static_cast<const A*>(args.weights) + index * samples;
    const T* value = static_cast<const T*>(args.value) + (image * args.positions * args.heads + head) * channels;
    const int64_t count = collect_taps<T, A>(args, value, locations, weights, taps);
    T* output = static_cast<T*>(args.output) + index * channels;
    int64_t done = 0;
    for (; done + 4 * kLanes<A> <= channels; done += 4 * kLanes<A>) {
      sum_taps<4, T, A>(value + done, taps, count, output + done);
    }
    for (; done + kLanes<A> <= channels; done += kLanes<A>) sum_taps<1, T, A>(value + done, taps, count, output + done);
    for (; done < channels; ++done) {
      A total = 0;
      for (int64_t tap = 0; tap < count; ++tap) total += widen<A>(value[taps[tap].offset + done]) * taps[tap].weight;
      output[done] = narrow<T>(total);
    }
  }
}

// Adds the output's gradient to the gradient of one pixel. Returns the dot product of gradient and pixel: the lanes of a
// vector still to be summed, and what is left of the channels in `rest`. Blocks = 0: any number of channels.
template <int Blocks, typename T, typename A>
inline Vec<A> visit_pixel(
    const T* value, const A* grad_output, A* grad_value, A weight, int64_t channels, A& rest) {
  const int64_t blocks = Blocks > 0 ? Blocks : channels / kLanes<A>;
  Vec<A> product = {};
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t at = block * kLanes<A>;
    const Vec<A> grad = load<A>(grad_output + at);
    product += load<A>(value + at) * grad;
    store<A>(grad_value + at, load<A>(grad_value + at) + grad * weight);
  }
  if (Blocks == 0) {
    for (int64_t channel = blocks * kLanes<A>; channel < channels; ++channel) {
      rest += widen<A>(value[channel]) * grad_output[channel];
      grad_value[channel] += grad_output[channel] * weight;
    }
  }
  return product;
}

// All points of one query, head and level.
template <int Blocks, typename T, typename A>
inline void backward_points(const AttentionArgs& args, int64_t image, int64_t level, int64_t query, int64_t head) {
  const int64_t height = args.shapes[2 * level], width = args.shapes[2 * level + 1];
  const int64_t channels = args.channels, stride = args.heads * channels;
  const int64_t first = ((image * args.positions + args.starts[level]) * args.heads + head) * channels;
  const T* value = static_cast<const T*>(args.value) + first;
  A* grad_value = static_cast<A*>(args.grad_value) + first;
  const int64_t index = (image * args.queries + query) * args.heads + head;
  const A* grad_output = static_cast<const A*>(args.grad_output) + index * channels;
  const int64_t sample = (index * args.levels + level) * args.points;
  const A* locations = static_cast<const A*>(args.locations) + 2 * sample;
  const A* weights = static_cast<const A*>(args.weights) + sample;
  A* grad_locations = static_cast<A*>(args.grad_locations) + 2 * sample;
  A* grad_weights = static_cast<A*>(args.grad_weights) + sample;
  for (int64_t begin = 0; begin < args.points; begin += kPointsAtOnce) {
    const int64_t count = std::min(kPointsAtOnce, args.points - begin);
    Corners<A> corners[kPointsAtOnce];
    bool touches[kPointsAtOnce];
    for (int64_t i = 0; i < count; ++i) {
      const A* location = locations + 2 * (begin + i);
      touches[i] = corners[i].find(location[0], location[1], height, width);
      for (int corner = 0; corner < 4; ++corner) {
        if (!corners[i].inside[corner]) continue;
        prefetch_pixel(value + corners[i].pixel[corner] * stride);
        prefetch_pixel(grad_value + corners[i].pixel[corner] * stride);
      }
    }
    for (int64_t i = 0; i < count; ++i) {
      const int64_t point = begin + i;
      A slope_x = 0, slope_y = 0, sampled = 0;
      if (touches[i]) {
        Vec<A> products[4] = {};
        A dot[4], rest[4] = {};
        for (int corner = 0; corner < 4; ++corner) {
          if (!corners[i].inside[corner]) continue;
          const int64_t offset = corners[i].pixel[corner] * stride;
          const A weight = corners[i].weight[corner] * weights[point];
          products[corner] = visit_pixel<Blocks, T, A>(
              value + offset, grad_output, grad_value + offset, weight, channels, rest[corner]);
        }
        sum_four<A>(products, dot);
        for (int corner = 0; corner < 4; ++corner) {
          dot[corner] += rest[corner];
          sampled += corners[i].weight[corner] * dot[corner];
        }
        const A right = corners[i].x_part, bottom = corners[i].y_part;
        slope_x = (1 - bottom) * (dot[1] - dot[0]) + bottom * (dot[3] - dot[2]);
        slope_y = (1 - right) * (dot[2] - dot[0]) + right * (dot[3] - dot[1]);
      }
      grad_weights[point] = sampled;
      grad_locations[2 * point] = slope_x * weights[point] * static_cast<A>(width);
      grad_locations[2 * point + 1] = slope_y * weights[point] * static_cast<A>(height);
    }
  }
}

template <int Blocks, typename T, typename A>
void backward_slice(const AttentionArgs& args, int64_t image, int64_t level, int64_t first_head, int64_t last_head) {
  for (int64_t query = 0; query < args.queries; ++query) {
    for (int64_t head = first_head; head < last_head; ++head) {
      backward_points<Blocks, T, A>(args, image, level, query, head);
    }
  }
}

template <typename T, typename A>
void forward(const AttentionArgs& args) {
  const int64_t rows = args.images * args.heads * args.queries;
  for_ranges(args.parallel_for, 0, rows, 64, [&](int64_t begin, int64_t end) {
    std::vector<Tap<A>> taps(4 * args.levels * args.points);
    forward_rows<T, A>(args, begin, end, taps.data());
  });
}

// Heads that one task takes: as many as leave two tasks a thread. More heads at a time read whole cache lines and pages.
inline int64_t heads_per_task(const AttentionArgs& args) {
  int64_t heads = args.heads;
  while (heads > 1 && args.images * args.levels * (args.heads / heads) < 2 * args.threads) heads = (heads + 1) / 2;
  return heads;
}

template <typename T, typename A>
void backward(const AttentionArgs& args) {
  if (args.heads == 0) return;
  const int64_t heads = heads_per_task(args), groups = (args.heads + heads - 1) / heads;
  const int64_t tasks = args.images * args.levels * groups;
  std::atomic<int64_t> next{0};
  for_ranges(args.parallel_for, 0, std::min(args.threads, tasks), 1, [&](int64_t, int64_t) {
    for (int64_t task = next++; task < tasks; task = next++) {
      const int64_t group = task % groups, level = task / groups % args.levels, image = task / groups / args.levels;
      const int64_t first = group * heads, last = std::min(args.heads, first + heads);
      switch (args.channels % kLanes<A> == 0 ? args.channels / kLanes<A> : 0) {
        case 2: backward_slice<2, T, A>(args, image, level, first, last); break;
        case 4: backward_slice<4, T, A>(args, image, level, first, last); break;
        case 8: backward_slice<8, T, A>(args, image, level, first, last); break;
        default: backward_slice<0, T, A>(args, image, level, first, last);
      }
    }
  });
}

}  // namespace

void ms_deform_attn_forward(const AttentionArgs& args) {
  switch (args.element) {
    case Element::kFloat64: return forward<double, double>(args);
    case Element::kFloat32: return forward<float, float>(args);
    case Element::kFloat16: return forward<Float16, float>(args);
    case Element::kBFloat16: return forward<BFloat16, float>(args);
  }
}

void ms_deform_attn_backward(const AttentionArgs& args) {
  switch (args.element) {
    case Element::kFloat64: return backward<double, double>(args);
    case Element::kFloat32: return backward<float, float>(args);
    case Element::kFloat16: return backward<Float16, float>(args);
    case Element::kBFloat16: return backward<BFloat16, float>(args);
  }
}

}  // namespace stn_det::STN_DET_ISA
