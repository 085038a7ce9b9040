// Multi-scale deformable attention on the CPU, backward; compiled once per instruction set.
//
// One task for each image and head, or image, head and level: the value gradients of two tasks never touch, so there
// are no atomics and the result does not depend on the number of threads. Where samples are dense a task works on
// copies of its part of the value and of the gradient, with a border of zeros. In the fused form gradients to pixels
// and weights come first, in the memory of the results, and are turned into those of offsets, logits and references at
// the end.
#include <algorithm>
#include <atomic>

#include "ms_deform_attn_tiles.h"

namespace stn_det::STN_DET_ISA {
namespace {

// A level of one head, pixel 0, in the value and in its gradient; elements from pixel to pixel.
template <typename T, typename A>
struct MapPair {
  const T* value;
  A* grad;
  int64_t stride;
};

// Images, heads and levels of one task; last ones not included.
struct Task {
  int64_t image, first_head, last_head, first_level, last_level;
};

// Adds the output's gradient of one point to its corners; dot products of gradient and corners into `dots`. `Blocks`
// vectors of channels, or 0: any number of channels.
template <int Blocks, bool kPadded, typename T, typename A>
inline void visit_point(
    const MapPair<T, A>& map, const A* grad_output, const CornerBlock<A>& corners, int64_t i, int64_t channels,
    A* dots) {
  const int64_t blocks = Blocks > 0 ? Blocks : channels / kLanes<A>;
  const int64_t first = corners.pixel[i] * map.stride, below = first + corners.row * map.stride;
  const int64_t at[4] = {first, first + map.stride, below, below + map.stride};
  const int64_t inside = kPadded ? 15 : corners.inside[i];
  const A weight[4] = {corners.weight[0][i], corners.weight[1][i], corners.weight[2][i], corners.weight[3][i]};
  Vec<A> products[4] = {};
  if (inside == 15) {
    for (int64_t block = 0; block < blocks; ++block) {
      const Vec<A> grad = load<A>(grad_output + block * kLanes<A>);
      for (int corner = 0; corner < 4; ++corner) {
        const int64_t channel = at[corner] + block * kLanes<A>;
        products[corner] += load<A>(map.value + channel) * grad;
        store<A>(map.grad + channel, load<A>(map.grad + channel) + grad * weight[corner]);
      }
    }
  } else {
    for (int corner = 0; corner < 4; ++corner) {
      if (!(inside >> corner & 1)) continue;
      for (int64_t block = 0; block < blocks; ++block) {
        const Vec<A> grad = load<A>(grad_output + block * kLanes<A>);
        const int64_t channel = at[corner] + block * kLanes<A>;
        products[corner] += load<A>(map.value + channel) * grad;
        store<A>(map.grad + channel, load<A>(map.grad + channel) + grad * weight[corner]);
      }
    }
  }
  sum_four<A>(products, dots);
  if (Blocks > 0) return;
  for (int corner = 0; corner < 4; ++corner) {
    if (!(inside >> corner & 1)) continue;
    for (int64_t channel = blocks * kLanes<A>; channel < channels; ++channel) {
      dots[corner] += widen<A>(map.value[at[corner] + channel]) * grad_output[channel];
      map.grad[at[corner] + channel] += grad_output[channel] * weight[corner];
    }
  }
}

template <bool kPadded, typename T, typename A>
inline void prefetch_corners(const MapPair<T, A>& map, const CornerBlock<A>& corners, int64_t i, int64_t channels) {
  if (kPadded || corners.inside[i] == 0) return;
  const int64_t first = corners.pixel[i] * map.stride, below = first + corners.row * map.stride;
  for (const int64_t at : {first, first + map.stride, below, below + map.stride}) {
    prefetch_range(map.value + at, channels);
    prefetch_range(map.grad + at, channels);
  }
}

// Gradients to points and weights of one level and some queries of a head, `row` the first, from the dot products of
// output gradient and corners.
template <typename A>
[[gnu::noinline]] void write_gradients(
    const AttentionArgs& args, int64_t row, int64_t queries, int64_t level, const A* weights,
    const CornerBlock<A>& corners, const A* dots) {
  const int64_t points = args.points, samples = args.levels * points;
  const A scale_x = is_fused(args) ? A(1) : static_cast<A>(columns_of(args, level));
  const A scale_y = is_fused(args) ? A(1) : static_cast<A>(rows_of(args, level));
  A* grad_locations = static_cast<A*>(args.grad_locations);
  A* grad_weights = static_cast<A*>(args.grad_weights);
  for (int64_t query = 0, i = 0; query < queries; ++query) {
    int64_t sample = (row + query * args.heads) * samples + level * points;
    for (int64_t point = 0; point < points; ++point, ++i, ++sample) {
      const A right = corners.right[i], bottom = corners.bottom[i], *dot = dots + 4 * i;
      const A upper = dot[1] - dot[0], lower = dot[3] - dot[2];
      const A sampled = (1 - bottom) * (dot[0] + right * upper) + bottom * (dot[2] + right * lower);
      const A slope_x = (1 - bottom) * upper + bottom * lower;
      const A slope_y = (1 - right) * (dot[2] - dot[0]) + right * (dot[3] - dot[1]);
      grad_weights[sample] = sampled;
      grad_locations[2 * sample] = slope_x * weights[i] * scale_x;
      grad_locations[2 * sample + 1] = slope_y * weights[i] * scale_y;
    }
  }
}

// One level of the rows of a run: value gradient, and gradients to points and weights.
template <int Blocks, bool kPadded, typename T, typename A>
inline void visit_run(
    const AttentionArgs& args, const MapPair<T, A>& map, int64_t image, QueryRun run, int64_t head, int64_t level,
    const A* x, const A* y, const A* weights, CornerBlock<A>& corners, A* dots) {
  const int64_t height = rows_of(args, level), width = columns_of(args, level);
  const int64_t points = args.points, count = run.count * points;
  const int64_t row = (image * args.queries + run.first) * args.heads + head;
  corners.template find<kPadded>(x, y, weights, count, height, width);
  for (int64_t i = 0; i < std::min<int64_t>(count, 4); ++i) prefetch_corners<kPadded>(map, corners, i, args.channels);
  const A* grad_output = static_cast<const A*>(args.grad_output) + row * args.channels;
  for (int64_t query = 0, i = 0; query < run.count; ++query, grad_output += args.heads * args.channels) {
    for (int64_t point = 0; point < points; ++point, ++i) {
      if (i + 4 < count) prefetch_corners<kPadded>(map, corners, i + 4, args.channels);
      if (kPadded || corners.inside[i] != 0) {
        visit_point<Blocks, kPadded, T, A>(map, grad_output, corners, i, args.channels, dots + 4 * i);
      } else {
        std::fill_n(dots + 4 * i, 4, A(0));
      }
    }
  }
  write_gradients(args, row, run.count, level, weights, corners, dots);
}

// All queries of a task. `value` and `grad` are the image, or copies of the levels of the task, which is then of one
// head.
template <int Blocks, bool kPadded, typename T, typename A>
void visit_tiles(
    const AttentionArgs& args, const QueryTiles& tiles, const Task& task, const MapLayout& layout, const T* value,
    A* grad, const A* weights) {
  TilePoints<A> located(args, kPadded ? kTileRuns : 1, weights);
  CornerBlock<A> corners(kRunQueries * args.points);
  Buffer<A> dots(4 * kRunQueries * args.points);
  for (int64_t tile = 0; tile < tiles.count(); ++tile) {
    for (int64_t head = task.first_head; head < task.last_head; ++head) {
      located.locate(tiles.begin(tile), tiles.end(tile), task.image, head, task.first_level, task.last_level);
      RunsAhead ahead(tiles, tile, tiles.count(), head, task.first_head, task.last_head);
      for (int64_t level = task.first_level; level < task.last_level; ++level) {
        const int64_t at =
            kPadded ? layout.level[level] - layout.level[task.first_level] : layout.at(level, head);
        const MapPair<T, A> map = {value + at, grad + at, layout.pixel};
        int64_t row = 0;
        for (const QueryRun* run = tiles.begin(tile); run != tiles.end(tile); row += run->count, ++run) {
          if (!ahead.empty()) {
            located.prefetch(*ahead.run, task.image, ahead.head);
            for (int64_t i = 0; i < ahead.run->count; ++i) {
              const int64_t next = (task.image * args.queries + ahead.run->first + i) * args.heads + ahead.head;
              prefetch_range(static_cast<const A*>(args.grad_output) + next * args.channels, args.channels);
            }
            ++ahead.run;
          }
          visit_run<Blocks, kPadded, T, A>(
              args, map, task.image, *run, head, level, located.x(level, row), located.y(level, row),
              located.weight(level, row), corners, dots.data());
        }
      }
    }
  }
}

template <bool kPadded, typename T, typename A>
void visit(
    const AttentionArgs& args, const QueryTiles& tiles, const Task& task, const MapLayout& layout, const T* value,
    A* grad, const A* weights) {
  if (args.channels == 4 * kLanes<A>) {
    return visit_tiles<4, kPadded, T, A>(args, tiles, task, layout, value, grad, weights);
  }
  if constexpr (kPadded) {
    if (args.channels == 8 * kLanes<A>) {
      return visit_tiles<8, true, T, A>(args, tiles, task, layout, value, grad, weights);
    }
  }
  visit_tiles<0, kPadded, T, A>(args, tiles, task, layout, value, grad, weights);
}

// Heads that one task takes where nothing is copied: as many as leave two tasks a thread. More heads at a time read
// whole cache lines and pages.
inline int64_t heads_per_task(const AttentionArgs& args) {
  int64_t heads = args.heads;
  while (heads > 1 && args.images * args.levels * (args.heads / heads) < 2 * args.threads) heads = (heads + 1) / 2;
  return heads;
}

// The value's gradient where no level lies: zeros.
template <typename A>
void clear_gaps(const AttentionArgs& args) {
  const int64_t stride = args.heads * args.channels;
  for (int64_t image = 0; image < args.images; ++image) {
    A* grad = static_cast<A*>(args.grad_value) + image * args.positions * stride;
    int64_t free = 0;
    for (int64_t level = 0; level < args.levels; ++level) {
      const int64_t size = rows_of(args, level) * columns_of(args, level);
      if (size == 0) continue;
      std::fill_n(grad + free * stride, (args.starts[level] - free) * stride, A(0));
      free = args.starts[level] + size;
    }
    std::fill_n(grad + free * stride, (args.positions - free) * stride, A(0));
  }
}

// A task of one head on copies of its levels.
template <typename T, typename A>
void visit_copies(
    const AttentionArgs& args, const QueryTiles& tiles, const Task& task, const PaddedMaps& maps,
    const MapLayout& layout, const T* value, A* grad_value, A* copies, A* grads, const A* weights) {
  const MapLayout plain(args);
  for (int64_t level = task.first_level; level < task.last_level; ++level) {
    for (int64_t y = 0; y <= maps.height(level); ++y) {
      maps.copy_line(value + plain.at(level, task.first_head), level, y, copies + maps.at(task.first_level, level, 0));
    }
  }
  std::fill_n(grads, maps.size(task.first_level, task.last_level), A(0));
  visit<true, A, A>(args, tiles, task, layout, copies, grads, weights);
  for (int64_t level = task.first_level; level < task.last_level; ++level) {
    maps.copy_back(grads + maps.at(task.first_level, level, 0), level, grad_value + plain.at(level, task.first_head));
  }
}

// Softmax weights of all rows of the fused form, where their gradients will be: a task reads those of its levels before
// it writes there.
template <typename A>
const A* take_softmax(const AttentionArgs& args) {
  A* weights = static_cast<A*>(args.grad_weights);
  const int64_t samples = args.levels * args.points;
  for_ranges(args.parallel_for, 0, args.images * args.queries * args.heads, 256, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      softmax<A>(static_cast<const A*>(args.logits) + row * samples, samples, weights + row * samples);
    }
  });
  return weights;
}

template <typename T, typename A>
void visit_all(const AttentionArgs& args) {
  const bool dense = samples_are_dense(args);
  const int64_t heads = dense ? 1 : heads_per_task(args), groups = (args.heads + heads - 1) / heads;
  // All levels together write whole lines of the gradients to points.
  const int64_t levels = dense && args.images * groups >= 2 * args.threads ? args.levels : 1;
  const int64_t parts = (args.levels + levels - 1) / levels, tasks = args.images * groups * parts;
  const A* weights = is_fused(args) && parts > 1 ? take_softmax<A>(args) : nullptr;
  const QueryTiles tiles(args, dense ? kTileRuns : 1);
  const PaddedMaps maps(args, 1);
  const MapLayout plain(args), padded(args, maps);
  int64_t size = 0;
  for (int64_t level = 0; dense && level < args.levels; level += levels) {
    size = std::max(size, maps.size(level, std::min(args.levels, level + levels)));
  }
  if (dense) clear_gaps<A>(args);
  std::atomic<int64_t> next{0};
  for_ranges(args.parallel_for, 0, std::min(args.threads, tasks), 1, [&](int64_t, int64_t) {
    LineBuffer<A> copies(size), grads(size);
    for (int64_t index = next++; index < tasks; index = next++) {
      const int64_t group = index % groups, part = index / groups % parts, image = index / groups / parts;
      const Task task = {
          image, group * heads, std::min(args.heads, (group + 1) * heads), part * levels,
          std::min(args.levels, (part + 1) * levels)};
      const int64_t at = image * args.positions * args.heads * args.channels;
      const T* value = static_cast<const T*>(args.value) + at;
      A* grad_value = static_cast<A*>(args.grad_value) + at;
      if (dense) {
        visit_copies<T, A>(
            args, tiles, task, maps, padded, value, grad_value, copies.data(), grads.data(), weights);
      } else {
        visit<false, T, A>(args, tiles, task, plain, value, grad_value, weights);
      }
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
  if (fused) make_frames<A>(args);
  if (args.heads > 0 && args.levels > 0) visit_all<T, A>(args);
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

void ms_deform_attn_backward(const AttentionArgs& args) {
  switch (args.element) {
    case Element::kFloat64: return backward<double, double>(args);
    case Element::kFloat32: return backward<float, float>(args);
    case Element::kFloat16: return backward<Float16, float>(args);
    case Element::kBFloat16: return backward<BFloat16, float>(args);
  }
}

}  // namespace stn_det::STN_DET_ISA
