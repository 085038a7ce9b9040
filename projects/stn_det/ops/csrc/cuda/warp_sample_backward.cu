// Fused warp and sampling on CUDA, backward; the same blocks and lanes as forward (warp_sample.cu).
//
// The gradient to the input is scattered into float sums (double for double), whose form sums.h decides. That to the
// matrix needs nine sums over all points: of the slopes to the coordinates, over channels first, then in double over
// the points of a thread, the threads of a block and, in a second kernel, the blocks, always in the same order.
#include "../entry/warp_sample.h"

#include "elements.h"
#include "sums.h"
#include "warp_taps.h"

namespace stn_det::cuda {
namespace {

// Entries of the gradient to a matrix.
struct MatrixSums {
  double at[9] = {};

  // Slopes of the loss to the coordinates of a point.
  __device__ __forceinline__ void add(const WarpPoint& point, double slope_x, double slope_y, bool with_depth) {
    const SourcePoint& source = point.source;
    slope_x *= source.inverse_depth;
    slope_y *= source.inverse_depth;
    add_row(0, point, slope_x);
    add_row(1, point, slope_y);
    if (with_depth) add_row(2, point, -(slope_x * (source.x + 0.5) + slope_y * (source.y + 0.5)));
  }

  __device__ __forceinline__ void add_row(int row, const WarpPoint& point, double slope) {
    at[3 * row] += slope * point.to_x;
    at[3 * row + 1] += slope * point.to_y;
    at[3 * row + 2] += slope;
  }

  // Of all threads of the block, into `partial`.
  __device__ __forceinline__ void write(double* partial) const {
    __shared__ double parts[kThreads / 32][9];
    for (int i = 0; i < 9; ++i) {
      double sum = at[i];
      for (int bits = 16; bits > 0; bits /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, bits);
      if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32][i] = sum;
    }
    __syncthreads();
    if (threadIdx.x >= 9) return;
    double sum = 0;
    for (int warp = 0; warp < kThreads / 32; ++warp) sum += parts[warp][threadIdx.x];
    partial[static_cast<int64_t>(blockIdx.x) * 9 + threadIdx.x] = sum;
  }
};

// Any strides: a thread a pixel, and some of the channels where the tile has fewer pixels than the block threads.
template <typename T, int K, typename Sums>
__global__ void __launch_bounds__(kThreads) visit_pixels(WarpArgs args, WarpGrid grid, Sums sums) {
  using A = SumOf<T>;
  constexpr int kGroup = 4;  // channels that are added in A before they are in double
  __shared__ PointMap map;
  const BlockPlace block(args, grid);
  if (threadIdx.x == 0) map = read_map(args, block.image);
  __syncthreads();
  const bool to_input = args.sums != nullptr, to_matrix = K > 1 && args.partial_sums != nullptr;
  const int pixels = grid.tile_height * grid.tile_width, step = kThreads / pixels;
  const int sub = static_cast<int>(threadIdx.x) / pixels;
  const Pixel pixel(args, grid, block, map, static_cast<int>(threadIdx.x) - sub * pixels);
  const int points = sub < step ? pixel.points() : 0;
  const A share = A(1) / static_cast<A>(points);
  const T* input = static_cast<const T*>(args.input) + block.image * args.input_strides.image;
  const T* grads = static_cast<const T*>(args.grad_output) + block.image * args.grad_output_strides.image +
                   pixel.row * args.grad_output_strides.row + pixel.column * args.grad_output_strides.column;
  MatrixSums matrix;
  for (int k = 0; k < points; ++k) {
    const WarpPoint point(map, pixel.row, pixel.column, pixel.across, pixel.down, k);
    AxisTaps<K, A> x, y;
    find_taps<(K > 1)>(args.padding, point.source.x, args.width, x);
    find_taps<(K > 1)>(args.padding, point.source.y, args.height, y);
    const unsigned added = cross<K>(y.weighty(), x.weighty()), inside = cross<K>(y.inside, x.inside);
    if (inside == 0) continue;
    double slope_x = 0, slope_y = 0;
    for (int64_t c = block.first_channel + sub; c < block.last_channel; c += kGroup * step) {
      A part_x = 0, part_y = 0;
      for (int g = 0; g < kGroup; ++g) {
        const int64_t channel = c + g * step;
        if (channel >= block.last_channel) break;
        const A grad = to_sum(grads[channel * args.grad_output_strides.channel]) * share;
        if (to_input) {
          const Strides& to = args.grad_input_strides;
          const int64_t plane = block.image * to.image + channel * to.channel;
          for (int a = 0; a < K; ++a) {
            for (int b = 0; b < K; ++b) {
              if (!(added >> (a * K + b) & 1u)) continue;
              const int64_t at = plane + y.index[a] * to.row + x.index[b] * to.column;
              sums.add(at, grad * (y.weight[a] * x.weight[b]));
            }
          }
        }
        if (!to_matrix) continue;
        const T* plane = input + channel * args.input_strides.channel;
        A along_x = 0, along_y = 0;
        for (int a = 0; a < K; ++a) {
          A line = 0, slope = 0;
          for (int b = 0; b < K; ++b) {
            const bool read = inside >> (a * K + b) & 1u;
            const int64_t at = y.index[a] * args.input_strides.row + x.index[b] * args.input_strides.column;
            const A value = read ? to_sum(plane[at]) : A(0);
            line += value * x.weight[b];
            slope += value * x.slope[b];
          }
          along_x += slope * y.weight[a];
          along_y += line * y.slope[a];
        }
        part_x += along_x * grad;
        part_y += along_y * grad;
      }
      slope_x += static_cast<double>(part_x);
      slope_y += static_cast<double>(part_y);
    }
    if (to_matrix) matrix.add(point, slope_x, slope_y, args.matrix_rows == 3);
  }
  if (to_matrix) matrix.write(args.partial_sums);
}

// What the lanes of a group need to know of a point.
template <int K, typename A>
struct Slot {
  int64_t row[K], column[K];  // in the image, in elements; of input and gradient
  int64_t grad_output;        // pixel, in elements
  A weight_x[K], weight_y[K], slope_x[K], slope_y[K];
  A share;
  unsigned added, inside;
};

template <int K, typename A>
__device__ __forceinline__ void fill_slot(
    const WarpArgs& args, const Strides& strides, const Pixel& pixel, const WarpPoint& point, Slot<K, A>& slot) {
  AxisTaps<K, A> x, y;
  find_taps<(K > 1)>(args.padding, point.source.x, args.width, x);
  find_taps<(K > 1)>(args.padding, point.source.y, args.height, y);
  for (int a = 0; a < K; ++a) {
    slot.row[a] = y.index[a] * strides.row;
    slot.column[a] = x.index[a] * strides.column;
    slot.weight_y[a] = y.weight[a];
    slot.weight_x[a] = x.weight[a];
    slot.slope_y[a] = y.slope[a];
    slot.slope_x[a] = x.slope[a];
  }
  slot.added = cross<K>(y.weighty(), x.weighty());
  slot.inside = cross<K>(y.inside, x.inside);
  slot.share = A(1) / static_cast<A>(pixel.points());
  slot.grad_output = pixel.row * args.grad_output_strides.row + pixel.column * args.grad_output_strides.column;
}

// What a point adds to the gradient of kPack channels.
template <int kPack, int K, typename A>
__device__ __forceinline__ void scatter(
    const Slot<K, A>& slot, const PlainSum<A>& sums, int64_t channel, const A* grad) {
  for (int a = 0; a < K; ++a) {
    for (int b = 0; b < K; ++b) {
      if (!(slot.added >> (a * K + b) & 1u)) continue;
      const A weight = slot.weight_y[a] * slot.weight_x[b];
      Pack<A, kPack> terms;
      for (int i = 0; i < kPack; ++i) terms.at[i] = grad[i] * weight;
      sums.template add_pack<kPack>(channel + slot.row[a] + slot.column[b], terms);
    }
  }
}

// What kPack channels add to the slopes of a point.
template <int kPack, int K, typename T, typename A>
__device__ __forceinline__ void add_slopes(
    const Slot<K, A>& slot, const T* input, const A* grad, A& slope_x, A& slope_y) {
  for (int a = 0; a < K; ++a) {
    A line = 0, slope = 0;  // of all channels: the weights are theirs together
    for (int b = 0; b < K; ++b) {
      if (!(slot.inside >> (a * K + b) & 1u)) continue;
      const Pack<T, kPack> pack = load_pack<T, kPack>(input + slot.row[a] + slot.column[b]);
      A product = 0;
      for (int i = 0; i < kPack; ++i) product += to_sum(pack.at[i]) * grad[i];
      line += product * slot.weight_x[b];
      slope += product * slot.slope_x[b];
    }
    slope_x += slope * slot.weight_y[a];
    slope_y += line * slot.slope_y[a];
  }
}

// Channels side by side: a group of lanes a few pixels, whose points it takes in order. Each lane finds the taps of one
// point and in the end gets the slopes of this point, summed over the channels of all lanes.
template <typename T, int K>
__global__ void __launch_bounds__(kThreads) visit_packs(
    WarpArgs args, WarpGrid grid, int lanes, PlainSum<SumOf<T>> sums) {
  using A = SumOf<T>;
  constexpr int kPack = kWidest<T>;
  __shared__ PointMap map;
  __shared__ Slot<K, A> slots[kThreads];
  const BlockPlace block(args, grid);
  if (threadIdx.x == 0) map = read_map(args, block.image);
  __syncthreads();
  const bool to_input = args.sums != nullptr, to_matrix = K > 1 && args.partial_sums != nullptr;
  const LaneGroup group(grid, lanes);
  const int index = group.first_pixel + group.lane;
  const bool owns = group.lane < group.pixels && index < grid.tile_height * grid.tile_width;
  const int count = owns ? Pixel(args, grid, block, map, index).points() : 0;
  const int end = running_sum(group, count), total = __shfl_sync(0xffffffffu, end, lanes - 1, lanes);
  const int most = largest_of_warp(total);
  const Strides& strides = to_input ? args.grad_input_strides : args.input_strides;
  const T* input = static_cast<const T*>(args.input) + block.image * args.input_strides.image;
  const T* grads = static_cast<const T*>(args.grad_output) + block.image * args.grad_output_strides.image;
  const int64_t to_image = block.image * args.grad_input_strides.image;
  MatrixSums matrix;
  for (int start = 0; start < most; start += lanes) {
    __syncwarp();
    const PointOfGroup mine = find_point(group, end, count, start + group.lane);
    const bool exists = start + group.lane < total;
    if (exists) {
      const Pixel pixel(args, grid, block, map, group.first_pixel + mine.owner);
      const WarpPoint point(map, pixel.row, pixel.column, pixel.across, pixel.down, mine.number);
      fill_slot(args, strides, pixel, point, slots[threadIdx.x]);
    }
    __syncwarp();
    A slope_x = 0, slope_y = 0;
    const int here = most - start < lanes ? most - start : lanes;
    for (int s = 0; s < here; ++s) {
      const Slot<K, A>& slot = slots[group.first_thread + s];
      A part_x = 0, part_y = 0;
      if (start + s < total && slot.inside != 0) {
        for (int64_t c = block.first_channel + group.lane * kPack; c < block.last_channel; c += lanes * kPack) {
          const Pack<T, kPack> pack = load_pack<T, kPack>(grads + slot.grad_output + c);
          A grad[kPack];
          for (int i = 0; i < kPack; ++i) grad[i] = to_sum(pack.at[i]) * slot.share;
          if (to_input) scatter<kPack>(slot, sums, to_image + c, grad);
          if (to_matrix) add_slopes<kPack>(slot, input + c, grad, part_x, part_y);
        }
      }
      if (!to_matrix) continue;
      for (int bits = lanes / 2; bits > 0; bits /= 2) {
        part_x += __shfl_xor_sync(0xffffffffu, part_x, bits, lanes);
        part_y += __shfl_xor_sync(0xffffffffu, part_y, bits, lanes);
      }
      slope_x = s == group.lane ? part_x : slope_x;
      slope_y = s == group.lane ? part_y : slope_y;
    }
    if (!to_matrix || !exists || slots[threadIdx.x].inside == 0) continue;
    const Pixel pixel(args, grid, block, map, group.first_pixel + mine.owner);
    const WarpPoint point(map, pixel.row, pixel.column, pixel.across, pixel.down, mine.number);
    matrix.add(point, static_cast<double>(slope_x), static_cast<double>(slope_y), args.matrix_rows == 3);
  }
  if (to_matrix) matrix.write(args.partial_sums);
}

constexpr int kAddThreads = 256;

// A block adds one entry of one matrix.
__global__ void __launch_bounds__(kAddThreads) add_partial_sums(WarpArgs args, int64_t blocks) {
  const int entries = static_cast<int>(3 * args.matrix_rows);
  const int64_t image = blockIdx.x / entries;
  const int entry = static_cast<int>(blockIdx.x % entries);
  const double* partial = args.partial_sums + image * blocks * 9 + entry;
  double sum = 0;
  for (int64_t i = threadIdx.x; i < blocks; i += kAddThreads) sum += partial[i * 9];
  __shared__ double parts[kAddThreads / 32];
  for (int bits = 16; bits > 0; bits /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, bits);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  sum = 0;
  for (int warp = 0; warp < kAddThreads / 32; ++warp) sum += parts[warp];
  args.grad_matrix[blockIdx.x] = sum;
}

constexpr int kRoundThreads = 256, kRoundEach = 4;

template <typename T>
__global__ void __launch_bounds__(kRoundThreads) round_sums(const float* sums, T* out, int64_t count) {
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kRoundThreads + threadIdx.x) * kRoundEach;
  if (first + kRoundEach <= count) {
    const Pack<float, kRoundEach> pack = load_pack<float, kRoundEach>(sums + first);
    Pack<T, kRoundEach> rounded;
    for (int i = 0; i < kRoundEach; ++i) rounded.at[i] = from_sum<T>(pack.at[i]);
    store_pack(out + first, rounded);
  } else {
    for (int64_t i = first; i < count; ++i) out[i] = from_sum<T>(sums[i]);
  }
}

// Whether the kernel for packs can do it. Its offsets serve input and gradient.
template <typename T>
bool fits_lanes(const WarpArgs& args) {
  const Strides &from = args.input_strides, &to = args.grad_input_strides;
  const bool same = args.grad_input == nullptr || (to.row == from.row && to.column == from.column && to.channel == 1);
  return same && has_packs<T>(args.input, from, args.channels) &&
         has_packs<T>(args.grad_output, args.grad_output_strides, args.channels);
}

template <typename T, int K>
void visit(const WarpArgs& args, const WarpGrid& grid) {
  using A = SumOf<T>;
  const unsigned blocks = blocks_for(args.images * grid.blocks(), 1);
  A* sums = static_cast<A*>(args.sums);
  if (args.sums == nullptr || !args.deterministic) {
    if (fits_lanes<T>(args)) {
      const int lanes = lanes_for<T>(grid, args.channels);
      return launch(
          "warp_sample_backward_packs", visit_packs<T, K>, blocks, kThreads, 0, args.stream, args, grid, lanes,
          PlainSum<A>{sums});
    }
    return launch(
        "warp_sample_backward", visit_pixels<T, K, PlainSum<A>>, blocks, kThreads, 0, args.stream, args, grid,
        PlainSum<A>{sums});
  }
  const int64_t count = args.images * args.channels * args.height * args.width;
  const int64_t pixels = args.out_height * args.out_width;
  const auto find = [&](ExactScale* scale) {
    // Under a border all taps of a pixel may meet in one: the absolute weights of bicubic ones add up to less than 2.
    find_scale(
        scale, static_cast<const T*>(args.grad_output), args.images * args.channels * pixels, 2.0,
        static_cast<double>(pixels), args.stream);
  };
  with_sums(args, sums, count, find, [&](auto form) {
    if constexpr (std::is_same_v<decltype(form), ExactSum<A>>) {
      launch(
          "warp_sample_backward", visit_pixels<T, K, ExactSum<A>>, blocks, kThreads, 0, args.stream, args, grid, form);
    }
  });
}

}  // namespace

void warp_sample_backward(const WarpArgs& args) {
  const WarpGrid grid(args);
  for_element_and_taps(args, [&](auto element, auto taps) {
    using T = decltype(element);
    if (args.sums != nullptr || args.partial_sums != nullptr) visit<T, decltype(taps)::value>(args, grid);
  });
  if (args.grad_matrix != nullptr) {
    const int64_t blocks = args.partial_sums == nullptr ? 0 : grid.blocks();
    launch(
        "add_partial_sums", add_partial_sums, blocks_for(args.images * args.matrix_rows * 3, 1), kAddThreads, 0,
        args.stream, args, blocks);
  }
  if (args.grad_input == nullptr) return;
  for_element(args.element, [&](auto element) {
    using T = decltype(element);
    if constexpr (sizeof(T) == 2) {
      const int64_t count = args.images * args.channels * args.height * args.width;
      launch(
          "round_sums", round_sums<T>, blocks_for(count, kRoundThreads * kRoundEach), kRoundThreads, 0, args.stream,
          static_cast<const float*>(args.sums), static_cast<T*>(args.grad_input), count);
    }
  });
}

}  // namespace stn_det::cuda
