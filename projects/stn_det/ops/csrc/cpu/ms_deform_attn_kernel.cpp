// Multi-scale deformable attention on the CPU; compiled once per instruction set.
//
// Forward: one row (image, query, head) at a time; the corners of all its points become a list of taps, which is then
// summed over blocks of channels that stay in registers.
//
// Backward: one task for each image, level and head (or several heads). The value gradients of two tasks never touch, so
// there are no atomics and the result does not depend on the number of threads. Where samples are dense a task works on a
// copy of its part of the value and of the gradient. The fused form first writes pixels and weights where their gradients
// will be, and turns those into gradients of offsets, logits and references at the end.
#include <algorithm>
#include <atomic>
#include <memory>

#include "buffer.h"
#include "ms_deform_attn_points.h"

namespace stn_det::STN_DET_ISA {
namespace {

constexpr int64_t kQueriesAtOnce = 8;  // of one level and head, whose corners are found together

// Asks for the first 128 bytes of a pixel: its 32 channels in float32. Nothing else tells the processor where the next
// point lies.
inline void prefetch_pixel(const void* pixel) {
  __builtin_prefetch(pixel);
  __builtin_prefetch(static_cast<const char*>(pixel) + 64);
}

template <typename T>
inline void prefetch_corners(const T* value, int64_t pixel, int64_t columns, int64_t stride) {
  const T* top = value + pixel * stride;
  prefetch_pixel(top);
  prefetch_pixel(top + stride);
  prefetch_pixel(top + columns * stride);
  prefetch_pixel(top + (columns + 1) * stride);
}

// A pixel to read: its first channel, from the image's and head's first value, and its weight.
template <typename A>
struct Tap {
  int64_t offset;
  A weight;
};

// The corners of all points that lie in their level, in order, each asked for; returns their number, at most four a point.
template <typename T, typename A>
inline int64_t collect_taps(const T* value, const PointBlock<A>& points, int64_t count, int64_t stride, Tap<A>* taps) {
  Tap<A>* tap = taps;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t first = points.pixel[i] * stride, below = first + points.columns[i] * stride;
    const int64_t at[4] = {first, first + stride, below, below + stride};
    for (int corner = 0; corner < 4; ++corner) {
      if (!(points.inside[i] >> corner & 1)) continue;
      *tap++ = {at[corner], points.corner[corner][i]};
      prefetch_pixel(value + at[corner]);
    }
  }
  return tap - taps;
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
inline void sum_row(const T* value, const Tap<A>* taps, int64_t count, int64_t channels, T* output) {
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

// Pixels and weights of all points of the row `query * G + head`.
template <typename A>
inline void locate_row(const AttentionArgs& args, int64_t query, int64_t head, PointBlock<A>& points) {
  const int64_t samples = args.levels * args.points, row = query * args.heads + head;
  if (is_fused(args)) {
    locate_fused<A>(args, query, head, points.x.data(), points.y.data(), 1, points.weight.data());
    return;
  }
  const A* locations = static_cast<const A*>(args.locations) + 2 * row * samples;
  const A* weights = static_cast<const A*>(args.weights) + row * samples;
  int64_t i = 0;
  for (; i + kLanes<A> <= samples; i += kLanes<A>) {
    Vec<A> x, y;
    load_pairs<A>(locations + 2 * i, x, y);
    store<A>(&points.x[i], x * load<A>(&points.width[i]) - A(0.5));
    store<A>(&points.y[i], y * load<A>(&points.height[i]) - A(0.5));
    store<A>(&points.weight[i], load<A>(weights + i));
  }
  for (; i < samples; ++i) {
    points.x[i] = locations[2 * i] * points.width[i] - A(0.5);
    points.y[i] = locations[2 * i + 1] * points.height[i] - A(0.5);
    points.weight[i] = weights[i];
  }
}

template <typename A>
void set_all_levels(const AttentionArgs& args, PointBlock<A>& points) {
  for (int64_t level = 0, i = 0; level < args.levels; ++level) {
    for (int64_t point = 0; point < args.points; ++point, ++i) {
      points.set_level(i, args.shapes[2 * level], args.shapes[2 * level + 1], args.starts[level]);
    }
  }
}

template <typename T, typename A>
void forward(const AttentionArgs& args) {
  if (is_fused(args)) make_frames<A>(args);
  const int64_t channels = args.channels, stride = args.heads * channels;
  for_ranges(args.parallel_for, 0, args.images * args.queries, 16, [&](int64_t begin, int64_t end) {
    const int64_t samples = args.levels * args.points;
    PointBlock<A> points(samples);
    set_all_levels<A>(args, points);
    Buffer<Tap<A>> taps(4 * samples);
    for (int64_t query = begin; query < end; ++query) {
      const T* value = static_cast<const T*>(args.value) + query / args.queries * args.positions * stride;
      T* output = static_cast<T*>(args.output) + query * stride;
      for (int64_t head = 0; head < args.heads; ++head, value += channels, output += channels) {
        locate_row<A>(args, query, head, points);
        points.find_corners(samples);
        const int64_t count = collect_taps<T, A>(value, points, samples, stride, taps.data());
        sum_row<T, A>(value, taps.data(), count, channels, output);
      }
    }
  });
}

// Where one task of the backward pass reads the value and adds up its gradient.
template <typename T, typename A>
struct Slice {
  int64_t image, level, first_head, last_head;
  const T* value;     // pixel 0 of the level, first_head
  A* grad_value;
  int64_t stride;     // from pixel to pixel
};

// Adds the output's gradient of one point to its corners; dot products of gradient and corners into `dots`.
template <int Blocks, typename T, typename A>
inline void visit_point(
    const T* value, A* grad_value, const A* grad_output, const PointBlock<A>& points, int64_t i, int64_t stride,
    int64_t channels, A* dots) {
  const int64_t blocks = Blocks > 0 ? Blocks : channels / kLanes<A>;
  const int64_t first = points.pixel[i] * stride, below = first + points.columns[i] * stride;
  const int64_t at[4] = {first, first + stride, below, below + stride};
  const int64_t inside = points.inside[i];
  Vec<A> products[4] = {};
  A rest[4] = {};
  if (inside == 15) {
    const A weight[4] = {points.corner[0][i], points.corner[1][i], points.corner[2][i], points.corner[3][i]};
    for (int64_t block = 0; block < blocks; ++block) {
      const Vec<A> grad = load<A>(grad_output + block * kLanes<A>);
      for (int corner = 0; corner < 4; ++corner) {
        const int64_t channel = at[corner] + block * kLanes<A>;
        products[corner] += load<A>(value + channel) * grad;
        store<A>(grad_value + channel, load<A>(grad_value + channel) + grad * weight[corner]);
      }
    }
  } else {
    for (int corner = 0; corner < 4; ++corner) {
      if (!(inside >> corner & 1)) continue;
      for (int64_t block = 0; block < blocks; ++block) {
        const Vec<A> grad = load<A>(grad_output + block * kLanes<A>);
        const int64_t channel = at[corner] + block * kLanes<A>;
        products[corner] += load<A>(value + channel) * grad;
        store<A>(grad_value + channel, load<A>(grad_value + channel) + grad * points.corner[corner][i]);
      }
    }
  }
  if (Blocks == 0) {
    for (int corner = 0; corner < 4; ++corner) {
      if (!(inside >> corner & 1)) continue;
      for (int64_t channel = blocks * kLanes<A>; channel < channels; ++channel) {
        rest[corner] += widen<A>(value[at[corner] + channel]) * grad_output[channel];
        grad_value[at[corner] + channel] += grad_output[channel] * points.corner[corner][i];
      }
    }
  }
  sum_four<A>(products, dots);
  for (int corner = 0; corner < 4; ++corner) dots[corner] += rest[corner];
}

// Some queries of one head and level: all their points.
template <int Blocks, typename T, typename A>
inline void visit_queries(
    const AttentionArgs& args, const Slice<T, A>& slice, int64_t begin, int64_t count, int64_t head,
    PointBlock<A>& points, Buffer<A>& dots) {
  const bool fused = is_fused(args);
  const A width = points.width[0], height = points.height[0];
  const int64_t sizes = args.points, samples = args.levels * sizes;
  const int64_t row = (slice.image * args.queries + begin) * args.heads + head;
  const int64_t first_sample = row * samples + slice.level * sizes, sample_step = args.heads * samples;
  const A* locations = static_cast<const A*>(fused ? args.grad_locations : args.locations);
  const A* weights = static_cast<const A*>(fused ? args.grad_weights : args.weights);
  const A scale_x = fused ? A(1) : width, scale_y = fused ? A(1) : height, shift = fused ? A(0) : A(0.5);
  for (int64_t query = 0, i = 0; query < count; ++query) {
    int64_t sample = first_sample + query * sample_step;
    for (int64_t point = 0; point < sizes; ++point, ++i, ++sample) {
      points.x[i] = locations[2 * sample] * scale_x - shift;
      points.y[i] = locations[2 * sample + 1] * scale_y - shift;
      points.weight[i] = weights[sample];
    }
  }
  points.find_corners(count * sizes);
  const int64_t offset = (head - slice.first_head) * args.channels;
  const T* value = slice.value + offset;
  A* grad_value = slice.grad_value + offset;
  const A* grad_output = static_cast<const A*>(args.grad_output) + row * args.channels;
  for (int64_t i = 0; i < std::min<int64_t>(count * sizes, 4); ++i) {
    prefetch_corners(value, points.pixel[i], points.columns[i], slice.stride);
    prefetch_corners(grad_value, points.pixel[i], points.columns[i], slice.stride);
  }
  for (int64_t query = 0, i = 0; query < count; ++query, grad_output += args.heads * args.channels) {
    for (int64_t point = 0; point < sizes; ++point, ++i) {
      if (i + 4 < count * sizes) {
        prefetch_corners(value, points.pixel[i + 4], points.columns[i + 4], slice.stride);
        prefetch_corners(grad_value, points.pixel[i + 4], points.columns[i + 4], slice.stride);
      }
      if (points.inside[i] != 0) {
        visit_point<Blocks, T, A>(value, grad_value, grad_output, points, i, slice.stride, args.channels, &dots[4 * i]);
      } else {
        std::fill_n(&dots[4 * i], 4, A(0));
      }
    }
  }
  A* grad_locations = static_cast<A*>(args.grad_locations);
  A* grad_weights = static_cast<A*>(args.grad_weights);
  for (int64_t query = 0, i = 0; query < count; ++query) {
    int64_t sample = first_sample + query * sample_step;
    for (int64_t point = 0; point < sizes; ++point, ++i, ++sample) {
      const A right = points.right[i], bottom = points.bottom[i], *dot = &dots[4 * i];
      const A upper = dot[1] - dot[0], lower = dot[3] - dot[2];
      const A sampled = (1 - bottom) * (dot[0] + right * upper) + bottom * (dot[2] + right * lower);
      const A slope_x = (1 - bottom) * upper + bottom * lower;
      const A slope_y = (1 - right) * (dot[2] - dot[0]) + right * (dot[3] - dot[1]);
      grad_weights[sample] = sampled;
      grad_locations[2 * sample] = slope_x * points.weight[i] * scale_x;
      grad_locations[2 * sample + 1] = slope_y * points.weight[i] * scale_y;
    }
  }
}

template <int Blocks, typename T, typename A>
void visit_slice(const AttentionArgs& args, const Slice<T, A>& slice) {
  const int64_t height = args.shapes[2 * slice.level], width = args.shapes[2 * slice.level + 1];
  PointBlock<A> points(kQueriesAtOnce * args.points);
  Buffer<A> dots(4 * kQueriesAtOnce * args.points);
  for (int64_t i = 0; i < kQueriesAtOnce * args.points; ++i) points.set_level(i, height, width, 0);
  for (int64_t query = 0; query < args.queries; query += kQueriesAtOnce) {
    const int64_t count = std::min(kQueriesAtOnce, args.queries - query);
    for (int64_t head = slice.first_head; head < slice.last_head; ++head) {
      visit_queries<Blocks, T, A>(args, slice, query, count, head, points, dots);
    }
  }
}

template <typename T, typename A>
void visit_slice_of(const AttentionArgs& args, const Slice<T, A>& slice) {
  if (args.points == 0) return;
  switch (args.channels % kLanes<A> == 0 ? args.channels / kLanes<A> : 0) {
    case 4: return visit_slice<4, T, A>(args, slice);
    case 8: return visit_slice<8, T, A>(args, slice);
    default: return visit_slice<0, T, A>(args, slice);
  }
}

// One head of one level on a copy, in which its pixels are neighbours.
template <typename T, typename A>
void visit_copy(const AttentionArgs& args, const Slice<T, A>& slice, T* value, A* grad_value) {
  const int64_t channels = args.channels;
  const int64_t pixels = args.shapes[2 * slice.level] * args.shapes[2 * slice.level + 1];
  for (int64_t i = 0; i < pixels; ++i) {
    std::memcpy(value + i * channels, slice.value + i * slice.stride, channels * sizeof(T));
  }
  std::fill_n(grad_value, pixels * channels, A(0));
  Slice<T, A> copy = slice;
  copy.value = value;
  copy.grad_value = grad_value;
  copy.stride = channels;
  visit_slice_of<T, A>(args, copy);
  for (int64_t i = 0; i < pixels; ++i) {
    std::memcpy(slice.grad_value + i * slice.stride, grad_value + i * channels, channels * sizeof(A));
  }
}

// Whether so many samples are taken that a copy with the pixels of each head side by side is worth making. Where the heads
// alternate, the pixels of one head lie a power of two apart and share a few of the cache's sets.
inline bool samples_are_dense(const AttentionArgs& args) {
  return args.heads > 1 && args.queries * args.levels * args.points > 2 * args.positions;
}

// Heads that one task takes where nothing is copied: as many as leave two tasks a thread. More heads at a time read whole
// cache lines and pages.
inline int64_t heads_per_task(const AttentionArgs& args) {
  int64_t heads = args.heads;
  while (heads > 1 && args.images * args.levels * (args.heads / heads) < 2 * args.threads) heads = (heads + 1) / 2;
  return heads;
}

template <typename T, typename A>
void visit_all(const AttentionArgs& args) {
  const bool copies = samples_are_dense(args);
  const int64_t heads = copies ? 1 : heads_per_task(args), groups = (args.heads + heads - 1) / heads;
  const int64_t tasks = args.images * args.levels * groups;
  int64_t pixels = 0;
  for (int64_t level = 0; level < args.levels; ++level) {
    pixels = std::max(pixels, args.shapes[2 * level] * args.shapes[2 * level + 1]);
  }
  std::atomic<int64_t> next{0};
  for_ranges(args.parallel_for, 0, std::min(args.threads, tasks), 1, [&](int64_t, int64_t) {
    std::unique_ptr<T[]> value(copies ? new T[pixels * args.channels] : nullptr);
    std::unique_ptr<A[]> grad_value(copies ? new A[pixels * args.channels] : nullptr);
    for (int64_t task = next++; task < tasks; task = next++) {
      const int64_t group = task % groups, level = task / groups % args.levels, image = task / groups / args.levels;
      const int64_t first = group * heads, last = std::min(args.heads, first + heads);
      const int64_t at = ((image * args.positions + args.starts[level]) * args.heads + first) * args.channels;
      const Slice<T, A> slice = {
          image, level, first, last, static_cast<const T*>(args.value) + at, static_cast<A*>(args.grad_value) + at,
          args.heads * args.channels};
      copies ? visit_copy<T, A>(args, slice, value.get(), grad_value.get()) : visit_slice_of<T, A>(args, slice);
    }
  });
}

// Pixels and softmax weights of the fused form, where their gradients will be.
template <typename A>
void locate_all(const AttentionArgs& args) {
  make_frames<A>(args);
  const int64_t samples = args.levels * args.points;
  for_ranges(args.parallel_for, 0, args.images * args.queries, 64, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin * args.heads; row < end * args.heads; ++row) {
      A* pixels = static_cast<A*>(args.grad_locations) + 2 * row * samples;
      A* weights = static_cast<A*>(args.grad_weights) + row * samples;
      locate_fused<A>(args, row / args.heads, row % args.heads, pixels, pixels + 1, 2, weights);
    }
  });
}

// From the gradients of pixels and weights to those of offsets, logits and references.
template <typename A>
void unfuse_query(const AttentionArgs& args, int64_t query, A* weights, PointFrame<A>* grad_frames) {
  const int64_t samples = args.levels * args.points;
  const PointFrame<A>* frames = static_cast<const PointFrame<A>*>(args.frames) + query * args.levels;
  std::fill_n(grad_frames, args.levels, PointFrame<A>{});
  for (int64_t head = 0; head < args.heads; ++head) {
    const int64_t first = (query * args.heads + head) * samples;
    const A* offsets = static_cast<const A*>(args.offsets) + 2 * first;
    A* grad_offsets = static_cast<A*>(args.grad_locations) + 2 * first;
    A* grad_logits = static_cast<A*>(args.grad_weights) + first;
    softmax<A>(static_cast<const A*>(args.logits) + first, samples, weights);
    A mean = 0;
    for (int64_t i = 0; i < samples; ++i) mean += weights[i] * grad_logits[i];
    for (int64_t level = 0, i = 0; level < args.levels; ++level) {
      const PointFrame<A> frame = frames[level];
      PointFrame<A> grad = grad_frames[level];
      for (int64_t point = 0; point < args.points; ++point, ++i) {
        grad_logits[i] = weights[i] * (grad_logits[i] - mean);
        const A grad_x = grad_offsets[2 * i], grad_y = grad_offsets[2 * i + 1];
        grad.origin_x += grad_x;
        grad.origin_y += grad_y;
        grad.xx += grad_x * offsets[2 * i];
        grad.xy += grad_x * offsets[2 * i + 1];
        grad.yx += grad_y * offsets[2 * i];
        grad.yy += grad_y * offsets[2 * i + 1];
        grad_offsets[2 * i] = frame.xx * grad_x + frame.yx * grad_y;
        grad_offsets[2 * i + 1] = frame.xy * grad_x + frame.yy * grad_y;
      }
      grad_frames[level] = grad;
    }
  }
  for (int64_t level = 0; level < args.levels; ++level) {
    const int64_t at = (query * args.levels + level) * args.reference_size;
    frame_backward<A>(
        static_cast<const A*>(args.references) + at, args.reference_size, static_cast<A>(args.shapes[2 * level]),
        static_cast<A>(args.shapes[2 * level + 1]), args.points, grad_frames[level],
        static_cast<A*>(args.grad_references) + at);
  }
}

template <typename T, typename A>
void backward(const AttentionArgs& args) {
  const bool fused = is_fused(args);
  if (fused) locate_all<A>(args);
  if (args.heads > 0) visit_all<T, A>(args);
  if (!fused) return;
  for_ranges(args.parallel_for, 0, args.images * args.queries, 64, [&](int64_t begin, int64_t end) {
    Buffer<A> weights(args.levels * args.points);
    Buffer<PointFrame<A>> grad_frames(args.levels);
    for (int64_t query = begin; query < end; ++query) {
      unfuse_query<A>(args, query, weights.data(), grad_frames.data());
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
