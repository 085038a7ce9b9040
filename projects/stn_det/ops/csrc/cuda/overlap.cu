// Overlap of shapes on CUDA, all pairs or row by row.
//
// Matrix: one block a tile of it. Few pairs overlap in most scenes, so a block first tests the bounds of all its pairs,
// writes 0 for those that are apart and lists the others; then all its threads compute the overlaps of the list, and no
// lane waits for a neighbour that has nothing to do.
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

// Row k with row k, one a thread.
template <typename Pair, typename A>
__global__ void __launch_bounds__(kThreads) fill_aligned(OverlapArgs args) {
  using First = typename Pair::First;
  using Second = typename Pair::Second;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (row >= args.rows) return;
  static_cast<A*>(args.output)[row] = exact_overlap<Pair, A>(
      load_prepared<First>(static_cast<const A*>(args.first) + row * First::kRaw),
      load_prepared<Second>(static_cast<const A*>(args.second) + row * Second::kRaw), args.iof);
}

template <typename Pair, typename A>
void run(const OverlapArgs& args) {
  if (args.aligned) {
    launch(
        "overlap_forward", fill_aligned<Pair, A>, blocks_for(args.rows, kThreads), kThreads, 0, args.stream, args);
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

}  // namespace

void overlap_forward(const OverlapArgs& args) {
  for_wide_element(args.element, [&](auto element) {
    using A = decltype(element);
    switch (args.kind) {
      case OverlapKind::kRotated: return run<RotatedOverlap<A>, A>(args);
      case OverlapKind::kBoxQuad: return run<BoxQuadOverlap<A>, A>(args);
      case OverlapKind::kHull: return run<HullOverlap<A>, A>(args);
    }
  });
}

}  // namespace stn_det::cuda
