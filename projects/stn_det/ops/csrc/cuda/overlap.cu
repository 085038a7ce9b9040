// Overlap of shapes on CUDA, all pairs or row by row.
//
// Matrix: one block a tile of it. Few pairs overlap in most scenes, so a block first tests the bounds of all its pairs,
// writes 0 for those that are apart and lists the others; then all its threads compute the overlaps of the list, and no
// lane waits for a neighbour that has nothing to do.
//
// Backward of the matrix: one pass sums over the columns for the first shapes, one over the rows for the second ones. A
// warp owns a shape and collects the pairs that matter in the order of the others until there are enough for all lanes.
// Nothing depends on the order in which threads run.
#include "../entry/overlap.h"

#include "elements.h"
#include "pairs.h"

namespace stn_det::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kTileRows = 64, kTileColumns = 128;  // at most; powers of two
constexpr int64_t kEnoughBlocks = 264;  // two for each processor of a large GPU; smaller tiles where there are fewer

// Between prepared shapes in shared memory; odd, so that neighbours begin in different banks.
template <typename Shape>
constexpr int kStride = Shape::kReady | 1;

// Prepares `count` shapes from `raw` on for a tile.
template <typename Shape, typename A>
__device__ __forceinline__ void prepare_tile(const A* raw, int count, A* ready, Bounds<A>* bounds) {
  for (int i = threadIdx.x; i < count; i += kThreads) {
    const Numbers<A, Shape::kReady> shape = load_prepared<Shape>(raw + i * Shape::kRaw);
    for (int k = 0; k < Shape::kReady; ++k) ready[i * kStride<Shape> + k] = shape.at[k];
    bounds[i] = Shape::bounds(shape.at);
  }
}

// Tiles of tile_rows x 2^column_bits pairs, row by row of tiles.
template <typename Pair, typename A>
__global__ void __launch_bounds__(kThreads) fill_matrix(
    OverlapArgs args, int tile_rows, int column_bits, int64_t tiles_across) {
  using First = typename Pair::First;
  using Second = typename Pair::Second;
  __shared__ A ready1[kTileRows * kStride<First>], ready2[kTileColumns * kStride<Second>];
  __shared__ Bounds<A> bounds1[kTileRows], bounds2[kTileColumns];
  __shared__ uint16_t found[kTileRows * kTileColumns];  // places in the tile
  __shared__ int length;
  const int64_t tile_row = blockIdx.x / tiles_across, tile_column = blockIdx.x - tile_row * tiles_across;
  const int64_t first_row = tile_row * tile_rows, first_column = tile_column << column_bits;
  const int64_t rows_left = args.rows - first_row, columns_left = args.columns - first_column;
  const int rows = rows_left < tile_rows ? static_cast<int>(rows_left) : tile_rows;
  const int columns = columns_left < 1 << column_bits ? static_cast<int>(columns_left) : 1 << column_bits;
  if (threadIdx.x == 0) length = 0;
  prepare_tile<First>(static_cast<const A*>(args.first) + first_row * First::kRaw, rows, ready1, bounds1);
  prepare_tile<Second>(static_cast<const A*>(args.second) + first_column * Second::kRaw, columns, ready2, bounds2);
  __syncthreads();
  A* output = static_cast<A*>(args.output) + first_row * args.columns + first_column;
  // The threads cover whole rows of the tile, so each of them stays in its column.
  const int column = threadIdx.x & ((1 << column_bits) - 1), step = kThreads >> column_bits;
  const Bounds<A> own = column < columns ? bounds2[column] : no_bounds<A>();
  for (int begin = 0; begin < rows; begin += step) {
    const int row = begin + (threadIdx.x >> column_bits);
    const bool inside = row < rows && column < columns;
    const bool meets = inside && bounds_meet(bounds1[row], own);
    if (inside && !meets) output[row * args.columns + column] = 0;
    append(meets, static_cast<uint16_t>(row << column_bits | column), found, &length);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < length; i += kThreads) {
    const int place = found[i], row = place >> column_bits, other = place & ((1 << column_bits) - 1);
    output[row * args.columns + other] = exact_overlap<Pair, A>(
        load_numbers<First::kReady>(ready1 + row * kStride<First>),
        load_numbers<Second::kReady>(ready2 + other * kStride<Second>), args.iof);
  }
}

// Whether a shape went into the calculation as it is. Those that were taken as zeros have no gradient.
template <typename Shape, typename A>
__device__ __forceinline__ bool is_usable(const A* raw, const Numbers<A, Shape::kReady>& ready) {
  bool same = true;
  for (int k = 0; k < Shape::kRaw; ++k) same &= raw[k] == ready.at[k];
  return same;
}

// Row k with row k, one a thread.
template <typename Pair, typename A, bool kBackward>
__global__ void __launch_bounds__(kThreads) visit_rows(OverlapArgs args) {
  using First = typename Pair::First;
  using Second = typename Pair::Second;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (row >= args.rows) return;
  const A* raw1 = static_cast<const A*>(args.first) + row * First::kRaw;
  const A* raw2 = static_cast<const A*>(args.second) + row * Second::kRaw;
  const Numbers<A, First::kReady> first = load_prepared<First>(raw1);
  const Numbers<A, Second::kReady> second = load_prepared<Second>(raw2);
  if constexpr (kBackward) {
    const A grad = static_cast<const A*>(args.grad_output)[row];
    A grad1[First::kRaw], grad2[Second::kRaw];
    Pair::backward(first.at, second.at, args.iof, &grad, grad1, grad2);
    const bool usable1 = is_usable<First>(raw1, first), usable2 = is_usable<Second>(raw2, second);
    A* to1 = static_cast<A*>(args.grad_first) + row * First::kRaw;
    A* to2 = static_cast<A*>(args.grad_second) + row * Second::kRaw;
    for (int k = 0; k < First::kRaw; ++k) to1[k] = usable1 ? grad1[k] : A(0);
    for (int k = 0; k < Second::kRaw; ++k) to2[k] = usable2 ? grad2[k] : A(0);
  } else {
    static_cast<A*>(args.output)[row] = exact_overlap<Pair, A>(first, second, args.iof);
  }
}

constexpr int kWarps = static_cast<int>(kOverlapOwners), kChunk = 32 * kWarps;

// What one side of a matrix has to know: its shapes, and where their gradients lie.
struct Side {
  const void *owners, *others, *grad;  // grad: (M, N)
  int64_t owner_count, other_count;
  int64_t owner_step, other_step;      // in grad
  int64_t groups, segment;             // blocks of owners; others that a block visits
  void* sums;                          // (segments, owners, F or S)
  bool iof;
};

// One warp an owner, eight owners a block and one segment of the others.
template <typename Pair, typename A, bool kFirstOwns>
__global__ void __launch_bounds__(kChunk) sum_gradients(Side side) {
  using Owner = std::conditional_t<kFirstOwns, typename Pair::First, typename Pair::Second>;
  using Other = std::conditional_t<kFirstOwns, typename Pair::Second, typename Pair::First>;
  __shared__ Bounds<A> bounds[kChunk];
  __shared__ A grads[kWarps][kChunk + 1];
  __shared__ int64_t lists[kWarps][64];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t number = blockIdx.x / side.groups, first_owner = (blockIdx.x - number * side.groups) * kWarps;
  const int64_t owner = first_owner + warp, begin = number * side.segment;
  const int64_t end = side.other_count - begin < side.segment ? side.other_count : begin + side.segment;
  const bool active = owner < side.owner_count;
  const A* own_raw = static_cast<const A*>(side.owners) + (active ? owner : 0) * Owner::kRaw;
  const A* others = static_cast<const A*>(side.others);
  const A* grad_output = static_cast<const A*>(side.grad);
  const Numbers<A, Owner::kReady> own = load_prepared<Owner>(own_raw);
  const bool usable = is_usable<Owner>(own_raw, own);
  const Bounds<A> own_bounds = active && usable ? Owner::bounds(own.at) : no_bounds<A>();
  A total[Owner::kRaw] = {};
  int64_t* list = lists[warp];
  const auto add = [&](int64_t other) {
    const Numbers<A, Other::kReady> shape = load_prepared<Other>(others + other * Other::kRaw);
    const A grad = grad_output[owner * side.owner_step + other * side.other_step];
    A grad1[Pair::First::kRaw], grad2[Pair::Second::kRaw];
    if constexpr (kFirstOwns) {
      Pair::backward(own.at, shape.at, side.iof, &grad, grad1, grad2);
      for (int k = 0; k < Owner::kRaw; ++k) total[k] += grad1[k];
    } else {
      Pair::backward(shape.at, own.at, side.iof, &grad, grad1, grad2);
      for (int k = 0; k < Owner::kRaw; ++k) total[k] += grad2[k];
    }
  };
  int waiting = 0;
  for (int64_t chunk = begin; chunk < end; chunk += kChunk) {
    __syncthreads();
    const int64_t mine = chunk + threadIdx.x;
    bounds[threadIdx.x] =
        mine < end ? Other::bounds(load_prepared<Other>(others + mine * Other::kRaw).at) : no_bounds<A>();
    for (int i = 0; i < kWarps; ++i) {
      // A warp reads along the rows of the matrix: a part of one, or eight numbers each of four.
      const int who = kFirstOwns ? i : lane % kWarps;
      const int at = kFirstOwns ? threadIdx.x : i * 32 + threadIdx.x / kWarps;
      const bool inside = first_owner + who < side.owner_count && chunk + at < end;
      grads[who][at] =
          inside ? grad_output[(first_owner + who) * side.owner_step + (chunk + at) * side.other_step] : A(0);
    }
    __syncthreads();
    for (int at = lane; at < kChunk; at += 32) {
      const bool counts = grads[warp][at] != 0 && bounds_meet(own_bounds, bounds[at]);
      const unsigned votes = __ballot_sync(0xffffffffu, counts);
      if (votes == 0) continue;
      if (counts) list[waiting + __popc(votes & ((1u << lane) - 1))] = chunk + at;
      waiting += __popc(votes);
      __syncwarp();
      if (waiting < 32) continue;
      add(list[lane]);
      const int64_t next = list[32 + lane];  // what lies beyond the end is not used
      __syncwarp();
      list[lane] = next;
      waiting -= 32;
      __syncwarp();
    }
  }
  if (lane < waiting) add(list[lane]);
  for (int k = 0; k < Owner::kRaw; ++k) {
    for (int bits = 16; bits > 0; bits /= 2) total[k] += __shfl_xor_sync(0xffffffffu, total[k], bits);
  }
  if (!active || lane != 0) return;
  A* to = static_cast<A*>(side.sums) + (number * side.owner_count + owner) * Owner::kRaw;
  for (int k = 0; k < Owner::kRaw; ++k) to[k] = total[k];
}

// Sums of the segments, in their order.
template <typename A>
__global__ void __launch_bounds__(kThreads) add_segments(const A* parts, int64_t segments, int64_t count, A* sums) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  A sum = 0;
  for (int64_t number = 0; number < segments; ++number) sum += parts[number * count + i];
  sums[i] = sum;
}

template <typename Pair, typename A, bool kFirstOwns>
void run_side(const OverlapArgs& args) {
  const int64_t owners = kFirstOwns ? args.rows : args.columns, others = kFirstOwns ? args.columns : args.rows;
  const int64_t size = owners * (kFirstOwns ? Pair::First::kRaw : Pair::Second::kRaw);
  const int64_t segments = overlap_segments(owners, others);
  void* grad = kFirstOwns ? args.grad_first : args.grad_second;
  Side side{};
  side.owners = kFirstOwns ? args.first : args.second;
  side.others = kFirstOwns ? args.second : args.first;
  side.grad = args.grad_output;
  side.owner_count = owners;
  side.other_count = others;
  side.owner_step = kFirstOwns ? args.columns : 1;
  side.other_step = kFirstOwns ? 1 : args.columns;
  side.groups = (owners + kWarps - 1) / kWarps;
  side.segment = ((others + segments - 1) / segments + kChunk - 1) / kChunk * kChunk;
  side.sums = segments > 1 ? args.scratch : grad;
  side.iof = args.iof;
  launch(
      "overlap_backward", sum_gradients<Pair, A, kFirstOwns>, blocks_for(side.groups * segments, 1), kChunk, 0,
      args.stream, side);
  if (segments == 1) return;
  launch(
      "add_segments", add_segments<A>, blocks_for(size, kThreads), kThreads, 0, args.stream,
      static_cast<const A*>(args.scratch), segments, size, static_cast<A*>(grad));
}

template <typename Pair, typename A>
void run(const OverlapArgs& args, bool backward) {
  if (args.aligned) {
    const unsigned blocks = blocks_for(args.rows, kThreads);
    backward ? launch("overlap_backward", visit_rows<Pair, A, true>, blocks, kThreads, 0, args.stream, args)
             : launch("overlap_forward", visit_rows<Pair, A, false>, blocks, kThreads, 0, args.stream, args);
    return;
  }
  if (backward) {
    run_side<Pair, A, true>(args);
    run_side<Pair, A, false>(args);
    return;
  }
  int column_bits = 0, tile_rows = kTileRows;
  while (1 << column_bits < kTileColumns && int64_t{1} << column_bits < args.columns) ++column_bits;
  const int64_t across = (args.columns + (int64_t{1} << column_bits) - 1) >> column_bits;
  while (tile_rows > 4 && (args.rows + tile_rows - 1) / tile_rows * across < kEnoughBlocks) tile_rows /= 2;
  launch(
      "overlap_forward", fill_matrix<Pair, A>, blocks_for((args.rows + tile_rows - 1) / tile_rows * across, 1),
      kThreads, 0, args.stream, args, tile_rows, column_bits, across);
}

void run_element(const OverlapArgs& args, bool backward) {
  for_wide_element(args.element, [&](auto element) {
    using A = decltype(element);
    switch (args.kind) {
      case OverlapKind::kRotated: return run<RotatedOverlap<A>, A>(args, backward);
      case OverlapKind::kBoxQuad: return run<BoxQuadOverlap<A>, A>(args, backward);
      case OverlapKind::kHull: return run<HullOverlap<A>, A>(args, backward);
    }
  });
}

}  // namespace

void overlap_forward(const OverlapArgs& args) { run_element(args, false); }
void overlap_backward(const OverlapArgs& args) { run_element(args, true); }

}  // namespace stn_det::cuda
