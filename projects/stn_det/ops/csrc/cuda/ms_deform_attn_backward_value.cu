// Multi-scale deformable attention on CUDA: the gradient to the value.
//
// Every corner of every point adds a row of channels to a pixel: 23 million rows of 128 bytes for two images of a
// usual encoder, more than the second-level cache takes in. But the points of a square of queries lie close together.
// So a block, which serves a square of 64 queries of one head, sorts the corners of 256 points at a time by pixel
// within the rectangle that they span, adds up the rows of a pixel from shared memory, and adds to memory once for each
// pixel (or 32 rows). Where the rectangle is larger than the table, points lie too far apart for that to pay, and rows
// are added one by one.
#include "ms_deform_attn_points.h"
#include "sums.h"

namespace stn_det::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kQueries = 64;           // of a block
constexpr int kRows = 4 * kThreads;    // corners of the points that are sorted at a time
constexpr int kCells = 2048;           // of the table
constexpr int kLongest = 32;           // rows that one group of lanes adds up
template <typename A>
constexpr int kMostChannels = sizeof(A) == 8 ? 16 : 64;  // of a block
constexpr unsigned kAll = 0xffffffffu;

template <typename A>
struct alignas(2 * sizeof(A)) Row {
  A weight;
  int query;  // of the block
};

// Shared memory of a block, besides the levels and the gradients of the output that follow it.
template <typename A>
struct Table {
  Row<A> rows[kRows];
  int pixels[kRows];       // of each part of the sorted rows
  int begins[kRows + 1];   // its first row
  int counts[kCells];      // rows of a cell, then its first row
  A scale[kQueries], largest[kQueries];
  int warp_totals[kThreads / 32];
  int left, top, right, bottom;  // of the rectangle
  int parts;
};

// The four corners of a point; a weight of 0 where there is none.
template <typename A>
struct PointCorners {
  int column, row;  // of the first; column -1: the point reads nothing
  bool across, down;
  A weight[4];

  __device__ __forceinline__ bool has(int corner) const {
    return column >= 0 && (across || !(corner & 1)) && (down || !(corner & 2));
  }
};

// Adds up numbers over the threads of a block: sum of those before this one, and of all.
__device__ __forceinline__ int scan_block(int number, int* warp_totals, int& total) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  int before = number;
  for (int delta = 1; delta < 32; delta *= 2) {
    const int other = __shfl_up_sync(kAll, before, delta);
    if (lane >= delta) before += other;
  }
  if (lane == 31) warp_totals[warp] = before;
  __syncthreads();
  before -= number;
  total = 0;
  for (int i = 0; i < kThreads / 32; ++i) {
    if (i < warp) before += warp_totals[i];
    total += warp_totals[i];
  }
  __syncthreads();
  return before;
}

// Sorts the corners of a point a thread by pixel. False, before anything is written, when they span too much.
template <typename A>
__device__ __forceinline__ bool sort_corners(
    const PointCorners<A>& corners, int query, const LevelShape& shape, Table<A>& table) {
  if (threadIdx.x == 0) {
    table.left = table.top = 0x7fffffff;
    table.right = table.bottom = -1;
  }
  __syncthreads();
  if (corners.column >= 0) {
    atomicMin(&table.left, corners.column);
    atomicMin(&table.top, corners.row);
    atomicMax(&table.right, corners.column + corners.across);
    atomicMax(&table.bottom, corners.row + corners.down);
  }
  __syncthreads();
  const int left = table.left, top = table.top, width = table.right - left + 1;
  if (table.right < 0) {
    if (threadIdx.x == 0) table.parts = 0;
    __syncthreads();
    return true;
  }
  const int64_t cells = static_cast<int64_t>(width) * (table.bottom - top + 1);
  if (cells > kCells) return false;
  for (int i = static_cast<int>(threadIdx.x); i < kCells; i += kThreads) table.counts[i] = 0;
  __syncthreads();
  int place[4], rank[4];
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    if (!corners.has(c)) continue;
    place[c] = (corners.row + (c >> 1) - top) * width + corners.column + (c & 1) - left;
    rank[c] = atomicAdd(&table.counts[place[c]], 1);
  }
  __syncthreads();
  // Each thread takes neighbouring cells: the rows before them, and the parts, of which a cell with many rows has
  // several.
  constexpr int kCellsPerThread = kCells / kThreads;
  const int first = static_cast<int>(threadIdx.x) * kCellsPerThread;
  int counts[kCellsPerThread], number = 0;  // rows in the lower half, parts in the upper
#pragma unroll
  for (int i = 0; i < kCellsPerThread; ++i) {
    counts[i] = table.counts[first + i];
    number += counts[i] + ((counts[i] + kLongest - 1) / kLongest << 16);
  }
  int total;
  const int before = scan_block(number, table.warp_totals, total);
  int row = before & 0xffff, part = before >> 16;
#pragma unroll
  for (int i = 0; i < kCellsPerThread; ++i) {
    table.counts[first + i] = row;
    const int y = (first + i) / width, x = first + i - y * width;
    for (int done = 0; done < counts[i]; done += kLongest, ++part) {
      table.pixels[part] = shape.start + (top + y) * shape.width + left + x;
      table.begins[part] = row + done;
    }
    row += counts[i];
  }
  if (threadIdx.x == 0) {
    table.parts = total >> 16;
    table.begins[total >> 16] = total & 0xffff;
  }
  __syncthreads();
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    if (corners.has(c)) table.rows[table.counts[place[c]] + rank[c]] = {corners.weight[c], query};
  }
  __syncthreads();
  return true;
}

// Writes the corners of a point a thread as parts of one row; those that do not exist get the pixel -1.
template <typename A>
__device__ __forceinline__ void list_corners(
    const PointCorners<A>& corners, int query, const LevelShape& shape, Table<A>& table) {
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    const int i = static_cast<int>(threadIdx.x) + c * kThreads;
    table.rows[i] = {corners.weight[c], query};
    table.begins[i] = i;
    table.pixels[i] = corners.has(c) ? shape.start + (corners.row + (c >> 1)) * shape.width + corners.column + (c & 1)
                                     : -1;
  }
  if (threadIdx.x == 0) {
    table.begins[kRows] = kRows;
    table.parts = kRows;
  }
  __syncthreads();
}

template <typename T, int kPack, bool kFused, typename Sums>
__global__ void __launch_bounds__(kThreads, 3) attention_backward_value(
    AttentionArgs args, Sums sums, int channels, int lanes, int parts, bool sorted) {
  using A = SumOf<T>;
  STN_DET_DYNAMIC_SHARED(memory);
  Table<A>& table = *reinterpret_cast<Table<A>*>(memory);
  A* grads = reinterpret_cast<A*>(memory + (sizeof(Table<A>) + 15) / 16 * 16);
  LevelShape* levels = reinterpret_cast<LevelShape*>(grads + kQueries * channels);
  const bool ordered = read_levels(args, levels);
  const int thread = static_cast<int>(threadIdx.x), points = static_cast<int>(args.points);
  const int count = static_cast<int>(args.levels) * points;

  // Four threads a query: what divides its weights, and its gradient of the output.
  const int quarter = thread % 4;
  const GroupPlace own = place_group(args, levels, ordered, thread / 4, kQueries, parts);
  const int channel = own.part * channels;
  const int length = min(channels, static_cast<int>(args.channels) - channel);
  if constexpr (kFused) {
    PointSource<A, true> source{args, levels, own.query, (own.query * args.heads + own.head) * count, 0};
    const A sum = source.sum_weights(quarter, 4, count);
    if (quarter == 0) {
      table.scale[thread / 4] = 1 / sum;
      table.largest[thread / 4] = source.largest;
    }
  }
  const T* grad_output =
      static_cast<const T*>(args.grad_output) + (own.query * args.heads + own.head) * args.channels + channel;
  for (int i = quarter * kPack; i < length; i += 4 * kPack) {
    const Pack<T, kPack> grad = load_pack<T, kPack>(grad_output + i);
#pragma unroll
    for (int k = 0; k < kPack; ++k) grads[thread / 4 * channels + i + k] = to_sum(grad.at[k]);
  }
  __syncthreads();

  const int group = thread / lanes, lane = thread % lanes, groups = kThreads / lanes;
  const int64_t stride = args.heads * args.channels;
  const int64_t base = own.image * args.positions * stride + own.head * args.channels + channel;
  for (int level = 0; level < static_cast<int>(args.levels); ++level) {
    const LevelShape shape = levels[level];
    if (shape.height <= 0) continue;  // the same for all threads
    for (int begin = 0; begin < kQueries * points; begin += kThreads) {
      const int query = (begin + thread) / points, point = begin + thread - query * points;
      PointCorners<A> corners = {-1, 0, false, false, {0, 0, 0, 0}};
      if (query < kQueries) {
        const GroupPlace place = place_group(args, levels, ordered, query, kQueries, parts);
        if (place.active) {
          const int64_t first = (place.query * args.heads + place.head) * count;
          const PointSource<A, kFused> source{args, levels, place.query, first, kFused ? table.largest[query] : A(0)};
          const int index = level * points + point;
          A x, y;
          source.locate(index, level, x, y);
          const A weight = source.weight(index) * (kFused ? table.scale[query] : A(1));
          const PointTaps<A> across = find_point_taps(x, shape.width), down = find_point_taps(y, shape.height);
          if (across.first >= 0 && down.first >= 0) {
            corners = {
                across.first, down.first, across.both, down.both,
                {weight * down.low * across.low, weight * down.low * across.high, weight * down.high * across.low,
                 weight * down.high * across.high}};
          }
        }
      }
      if (!sorted || !sort_corners(corners, query, shape, table)) list_corners(corners, query, shape, table);
      const int rows = table.parts;
      for (int part = group; part < rows; part += groups) {
        const int pixel = table.pixels[part], last = table.begins[part + 1];
        if (pixel < 0) continue;
        for (int at = lane * kPack; at < length; at += lanes * kPack) {
          Pack<A, kPack> sum = {};
#pragma unroll 4
          for (int i = table.begins[part]; i < last; ++i) {
            const Row<A> row = table.rows[i];
            const Pack<A, kPack> grad = load_pack<A, kPack>(grads + row.query * channels + at);
#pragma unroll
            for (int k = 0; k < kPack; ++k) sum.at[k] += row.weight * grad.at[k];
          }
          sums.template add_pack<kPack>(base + pixel * stride + at, sum);
        }
      }
      __syncthreads();
    }
  }
}

template <typename T, int kPack>
void run(const AttentionArgs& args) {
  using A = SumOf<T>;
  // As many parts as needed, all but the last of the same number of whole packs.
  const int parts = static_cast<int>((args.channels + kMostChannels<A> - 1) / kMostChannels<A>);
  int channels = static_cast<int>((args.channels + parts - 1) / parts);
  channels = (channels + kPack - 1) / kPack * kPack;
  int lanes = 1;
  while (lanes < 32 && lanes * kPack < channels) lanes *= 2;
  const int64_t chunks = (args.queries + kQueries - 1) / kQueries;
  const unsigned blocks = blocks_for(args.images * chunks * args.heads * parts, 1);
  const size_t shared = (sizeof(Table<A>) + 15) / 16 * 16 + static_cast<size_t>(kQueries * channels) * sizeof(A) +
                        static_cast<size_t>(args.levels) * sizeof(LevelShape);
  const int64_t rows = args.images * args.queries * args.heads, terms = args.queries * args.points;
  with_sums(
      args, static_cast<A*>(args.grad_value), args.images * args.positions * args.heads * args.channels,
      [&](ExactScale* scale) {
        const T* grads = static_cast<const T*>(args.grad_output);
        const double most = static_cast<double>(terms);
        if (is_fused(args)) return find_scale(scale, grads, rows * args.channels, 1.0, most, args.stream);
        const A* weights = static_cast<const A*>(args.weights);
        find_scale(
            scale, grads, rows * args.channels, weights, rows * args.levels * args.points, most, args.stream);
      },
      [&](const auto& sums) {
        using Sums = std::remove_cvref_t<decltype(sums)>;
        const auto kernel = is_fused(args) ? attention_backward_value<T, kPackFor<Sums, kPack>, true, Sums>
                                           : attention_backward_value<T, kPackFor<Sums, kPack>, false, Sums>;
        launch(
            "ms_deform_attn_backward_value", kernel, blocks, kThreads, shared, args.stream, args, sums, channels, lanes,
            parts, !args.deterministic);
      });
}

}  // namespace

void ms_deform_attn_backward_value(const AttentionArgs& args) {
  for_element(args.element, [&](auto element) {
    using T = decltype(element);
    using A = SumOf<T>;
    // Reductions in memory are of 16 bytes of sums, and so few elements are read at a time here.
    const bool packs = fits_packs<T>(args.grad_output, args.channels) && fits_packs<A>(args.grad_value, args.channels);
    packs ? run<T, kWidest<A>>(args) : run<T, 1>(args);
  });
}

}  // namespace stn_det::cuda
