// Greedy non-maximum suppression on CUDA.
//
// Boxes are laid out in the order of the visits and decided a panel of them at a time. In a panel every box gets one
// bit for each earlier box that overlaps it by more than the threshold; then one block walks over the panel, 64 boxes a
// step, and decides who is kept; then the kept boxes claim what they overlap beyond the panel. So a box meets later
// boxes outside of its panel only once it is known to be kept.
//
// A claim is the position of the kept box that drops a box, its own position for a box that is kept.
#include "../entry/nms.h"

#include "elements.h"
#include "pairs.h"

namespace stn_det::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kTile = 64;        // earlier boxes a block; bits of a word
constexpr int kClaimants = 128;  // later boxes a block beyond the panel
constexpr int kPanel = static_cast<int>(kNmsPanel), kPanelWords = kPanel / 64;
constexpr int kNobody = 2147483647, kAbsent = -1;  // claims of an undecided box, of one that takes no part

// What is known of the boxes, by position.
template <typename A>
struct Store {
  unsigned long long* mask;  // (panel, words): the earlier boxes of the panel that overlap a box of it
  Pack<A, 4>* bounds;        // low x, low y, high x, high y
  int64_t* labels;
  A *ready, *area;
  int* claims;
  int count, words;

  Store(const NmsArgs& args) : count(static_cast<int>(args.count)) {
    const int64_t panel = args.count < kPanel ? (args.count + 63) / 64 * 64 : kPanel;
    words = static_cast<int>(panel / 64);
    mask = static_cast<unsigned long long*>(args.scratch);
    bounds = reinterpret_cast<Pack<A, 4>*>(mask + panel * words);
    labels = reinterpret_cast<int64_t*>(bounds + args.count);
    ready = reinterpret_cast<A*>(labels + args.count);
    area = ready + nms_numbers(args.kind) * args.count;
    claims = reinterpret_cast<int*>(area + args.count);
  }
};

template <typename Shape, typename A>
__global__ void __launch_bounds__(kThreads) lay_out(NmsArgs args, Store<A> store) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= args.count) return;
  args.owner[at] = -1;
  const int64_t box = args.order[at];
  const bool known = box >= 0 && box < args.count;
  const A* raw = static_cast<const A*>(args.boxes) + (known ? box : 0) * Shape::kRaw;
  const bool takes_part = known && usable<Shape::kRaw>(load_numbers<Shape::kRaw>(raw).at);
  const Numbers<A, Shape::kReady> shape = load_prepared<Shape>(raw);
  const Bounds<A> bounds = takes_part ? Shape::bounds(shape.at) : no_bounds<A>();
  for (int k = 0; k < Shape::kReady; ++k) store.ready[at * Shape::kReady + k] = shape.at[k];
  store_pack(&store.bounds[at].at[0], Pack<A, 4>{{bounds.low_x, bounds.low_y, bounds.high_x, bounds.high_y}});
  store.area[at] = takes_part ? Shape::area(shape.at) : A(0);
  store.labels[at] = args.labels[known ? box : 0];
  store.claims[at] = takes_part ? kNobody : kAbsent;
}

// Boxes of a tile that may claim others, moved together.
template <typename A>
struct Tile {
  Pack<A, 4> bounds[kTile];
  A area[kTile];
  int64_t label[kTile], least, most;  // labels lie between these
  int at[kTile], count;               // positions
};

// The first warp fills the tile with those of 64 positions from `begin` on that are undecided, or with those kept.
template <bool kKept, typename A>
__device__ __forceinline__ void fill(Tile<A>& tile, const Store<A>& store, int begin) {
  if (threadIdx.x >= 32) return;
  int count = 0;
  int64_t least = std::numeric_limits<int64_t>::max(), most = std::numeric_limits<int64_t>::min();
  for (int part = 0; part < 2; ++part) {
    const int64_t at = static_cast<int64_t>(begin) + 32 * part + threadIdx.x;
    const int claim = at < store.count ? store.claims[at] : kAbsent;
    const bool wanted = kKept ? claim == at : claim == kNobody;
    const unsigned votes = __ballot_sync(0xffffffffu, wanted);
    if (wanted) {
      const int to = count + __popc(votes & ((1u << threadIdx.x) - 1));
      const int64_t label = store.labels[at];
      tile.bounds[to] = store.bounds[at];
      tile.area[to] = store.area[at];
      tile.label[to] = label;
      tile.at[to] = static_cast<int>(at);
      least = label < least ? label : least;
      most = label > most ? label : most;
    }
    count += __popc(votes);
  }
  for (int bits = 16; bits > 0; bits /= 2) {
    const int64_t low = __shfl_xor_sync(0xffffffffu, least, bits), high = __shfl_xor_sync(0xffffffffu, most, bits);
    least = low < least ? low : least;
    most = high > most ? high : most;
  }
  if (threadIdx.x == 0) {
    tile.count = count;
    tile.least = least;
    tile.most = most;
  }
}

// The intersection lies within both bounds and within both shapes. The slack keeps rounding from turning this into a
// rejection of a pair that exceeds the threshold by little.
template <typename A>
__device__ __forceinline__ bool may_exceed(
    const Pack<A, 4>& one, A area1, const Pack<A, 4>& other, A area2, A threshold) {
  const A width = lesser(one.at[2], other.at[2]) - greater(one.at[0], other.at[0]);
  const A height = lesser(one.at[3], other.at[3]) - greater(one.at[1], other.at[1]);
  const A box = greater(width, A(0)) * greater(height, A(0));
  const A shared = lesser(box, lesser(area1, area2)) * A(1 + 1e-5);
  return shared > 0 && shared * (1 + threshold) >= (area1 + area2) * threshold;
}

// Lists the pairs, row * kColumns + column, of the tile's boxes with the thread's own one at `later` (-1: none) that
// could overlap by more than the threshold. Whole warps share a row.
template <int kColumns, typename A>
__device__ __forceinline__ void list_pairs(
    const Tile<A>& tile, const Store<A>& store, int later, A threshold, uint16_t* list, int* length) {
  const int64_t label = later >= 0 ? store.labels[later] : 0;
  const bool inside = later >= 0 && label >= tile.least && label <= tile.most;
  if (!__any_sync(0xffffffffu, inside)) return;
  const Pack<A, 4> bounds = store.bounds[inside ? later : 0];
  const A area = store.area[inside ? later : 0];
  const int column = threadIdx.x % kColumns;
  for (int row = threadIdx.x / kColumns; row < tile.count; row += kThreads / kColumns) {
    const bool wanted = inside && tile.label[row] == label && tile.at[row] < later &&
                        may_exceed(tile.bounds[row], tile.area[row], bounds, area, threshold);
    append(wanted, static_cast<uint16_t>(row * kColumns + column), list, length);
  }
}

// `iof` is always false; see exact_overlap.
template <typename Overlap, typename A>
__device__ __forceinline__ bool exceeds(const Store<A>& store, int earlier, int later, A threshold, bool iof) {
  constexpr int64_t kReady = Overlap::First::kReady;
  return exact_overlap<Overlap, A>(
             load_numbers<kReady>(store.ready + earlier * kReady), load_numbers<kReady>(store.ready + later * kReady),
             iof) > threshold;
}

// One block 64 x 64 pairs of undecided boxes of the panel that begins at `panel`.
template <typename Overlap, typename A>
__global__ void __launch_bounds__(kThreads) compare_panel(Store<A> store, int panel, A threshold, bool iof) {
  const int tiles = store.words;
  const int later_tile = blockIdx.x / tiles, earlier_tile = blockIdx.x - later_tile * tiles;
  if (earlier_tile > later_tile) return;
  __shared__ Tile<A> tile;
  __shared__ uint16_t list[kTile * kTile];
  __shared__ unsigned bits[kTile][2];
  __shared__ int length;
  const int begin = panel + later_tile * kTile, column = threadIdx.x % kTile;
  if (threadIdx.x == 0) length = 0;
  bits[column][threadIdx.x / kTile] = 0;
  fill<false>(tile, store, panel + earlier_tile * kTile);
  __syncthreads();
  const bool live = column < store.count - begin && store.claims[begin + column] == kNobody;
  list_pairs<kTile>(tile, store, live ? begin + column : -1, threshold, list, &length);
  __syncthreads();
  for (int i = threadIdx.x; i < length; i += kThreads) {
    const int earlier = tile.at[list[i] / kTile], to = list[i] % kTile, place = (earlier - panel) % kTile;
    if (exceeds<Overlap>(store, earlier, begin + to, threshold, iof)) {
      atomicOr(&bits[to][place / 32], 1u << (place % 32));
    }
  }
  __syncthreads();
  if (threadIdx.x >= kTile) return;
  store.mask[static_cast<int64_t>(later_tile * kTile + column) * tiles + earlier_tile] =
      bits[column][0] | static_cast<unsigned long long>(bits[column][1]) << 32;
}

constexpr int kDeciders = 1024, kReaders = kDeciders / 64, kWordsPerReader = kPanelWords / kReaders;

// One block decides a panel, 64 boxes a step. Sixteen threads a box look for the first kept box of the steps before
// that overlaps it; then one warp decides the 64 among themselves.
template <typename A>
__global__ void __launch_bounds__(kDeciders) decide_panel(Store<A> store, int panel) {
  __shared__ unsigned long long kept[kPanelWords], among[64];
  __shared__ int first_before[64];
  const int row = threadIdx.x / kReaders, reader = threadIdx.x % kReaders;
  const int left = store.count - panel, steps = left < kPanel ? (left + 63) / 64 : kPanelWords;
  unsigned long long ahead[kWordsPerReader] = {};
  // Words of the boxes of a step; loaded one step ahead.
  const auto read = [&](int step) {
    for (int k = 0; k < kWordsPerReader; ++k) {
      const int word = reader + k * kReaders;
      if (word <= step) ahead[k] = store.mask[static_cast<int64_t>(step * 64 + row) * store.words + word];
    }
  };
  read(0);
  for (int step = 0; step < steps; ++step) {
    int first = kNobody;
    for (int k = 0; k < kWordsPerReader; ++k) {
      const int word = reader + k * kReaders;
      if (word == step) among[row] = ahead[k];
      const unsigned long long hits = word < step ? ahead[k] & kept[word] : 0;
      const int hit = hits != 0 ? word * 64 + __ffsll(static_cast<long long>(hits)) - 1 : kNobody;
      first = hit < first ? hit : first;
    }
    if (step + 1 < steps) read(step + 1);
    for (int bits = kReaders / 2; bits > 0; bits /= 2) {
      const int other = __shfl_xor_sync(0xffffffffu, first, bits);
      first = other < first ? other : first;
    }
    if (reader == 0) first_before[row] = first;
    __syncthreads();
    if (threadIdx.x < 32) {
      unsigned long long open = 0, taken = 0, rivals[2];
      bool alive[2];
      int before[2];
      for (int half = 0; half < 2; ++half) {
        const int box = 32 * half + threadIdx.x, at = step * 64 + box;
        rivals[half] = among[box];
        before[half] = first_before[box];
        alive[half] = at < left && store.claims[panel + at] == kNobody;
        open |= static_cast<unsigned long long>(__ballot_sync(0xffffffffu, alive[half] && before[half] == kNobody))
                << (32 * half);
      }
      // A box without an open rival before it is decided; so is at least the first open one in each round.
      while (open != 0) {
        unsigned long long keeps = 0, drops = 0;
        for (int half = 0; half < 2; ++half) {
          const bool is_open = open >> (32 * half + threadIdx.x) & 1, beaten = (rivals[half] & taken) != 0;
          keeps |= static_cast<unsigned long long>(
                       __ballot_sync(0xffffffffu, is_open && !beaten && (rivals[half] & open) == 0))
                   << (32 * half);
          drops |= static_cast<unsigned long long>(__ballot_sync(0xffffffffu, is_open && beaten)) << (32 * half);
        }
        taken |= keeps;
        open &= ~(keeps | drops);
      }
      for (int half = 0; half < 2; ++half) {
        const int box = 32 * half + threadIdx.x, at = step * 64 + box;
        if (!alive[half]) continue;
        int claim = before[half];
        if (claim == kNobody) {
          const unsigned long long winners = rivals[half] & taken;
          claim = winners != 0 ? step * 64 + __ffsll(static_cast<long long>(winners)) - 1 : at;
        }
        store.claims[panel + at] = panel + claim;
      }
      if (threadIdx.x == 0) kept[step] = taken;
    }
    __syncthreads();
  }
}

// The kept boxes of a panel claim those beyond it, which go to the first that asks: 64 x 128 pairs a block.
template <typename Overlap, typename A>
__global__ void __launch_bounds__(kThreads) claim_beyond(Store<A> store, int panel, A threshold, bool iof) {
  static_assert(kClaimants == kThreads);
  __shared__ Tile<A> tile;
  __shared__ uint16_t list[kTile * kClaimants];
  __shared__ int length;
  const unsigned later_tile = blockIdx.x / kPanelWords, earlier_tile = blockIdx.x - later_tile * kPanelWords;
  const int64_t begin = static_cast<int64_t>(panel) + kPanel + static_cast<int64_t>(later_tile) * kClaimants;
  if (threadIdx.x == 0) length = 0;
  fill<true>(tile, store, panel + static_cast<int>(earlier_tile) * kTile);
  __syncthreads();
  const int64_t mine = begin + threadIdx.x;
  // Claims of this panel may still be lowered; those of earlier panels stand, and kAbsent is below all.
  const bool live = mine < store.count && store.claims[mine] >= panel;
  list_pairs<kClaimants>(tile, store, live ? static_cast<int>(mine) : -1, threshold, list, &length);
  __syncthreads();
  for (int i = threadIdx.x; i < length; i += kThreads) {
    const int earlier = tile.at[list[i] / kClaimants], later = static_cast<int>(begin) + list[i] % kClaimants;
    if (*static_cast<volatile int*>(store.claims + later) <= earlier) continue;  // another block was better
    if (exceeds<Overlap>(store, earlier, later, threshold, iof)) atomicMin(store.claims + later, earlier);
  }
}

__global__ void __launch_bounds__(kThreads) name_owners(NmsArgs args, const int* claims) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= args.count) return;
  const int claim = claims[at];
  if (claim >= 0 && claim < args.count) args.owner[args.order[at]] = args.order[claim];
}

template <typename Overlap, typename A>
void run(const NmsArgs& args) {
  const Store<A> store(args);
  const A threshold = static_cast<A>(args.threshold);
  const unsigned blocks = blocks_for(args.count, kThreads);
  launch("nms_lay_out", lay_out<typename Overlap::First, A>, blocks, kThreads, 0, args.stream, args, store);
  for (int64_t panel = 0; panel < args.count; panel += kPanel) {
    const int begin = static_cast<int>(panel);
    const int64_t beyond = args.count - panel - kPanel;
    launch(
        "nms_compare_panel", compare_panel<Overlap, A>, blocks_for(int64_t{store.words} * store.words, 1), kThreads, 0,
        args.stream, store, begin, threshold, false);
    launch("nms_decide_panel", decide_panel<A>, 1, kDeciders, 0, args.stream, store, begin);
    if (beyond <= 0) break;
    const unsigned tiles = blocks_for(kPanelWords * ((beyond + kClaimants - 1) / kClaimants), 1);
    launch(
        "nms_claim_beyond", claim_beyond<Overlap, A>, tiles, kThreads, 0, args.stream, store, begin, threshold, false);
  }
  launch("nms_name_owners", name_owners, blocks, kThreads, 0, args.stream, args, static_cast<const int*>(store.claims));
}

}  // namespace

void nms(const NmsArgs& args) {
  for_wide_element(args.element, [&](auto element) {
    using A = decltype(element);
    switch (args.kind) {
      case NmsKind::kHBox: return run<HBoxOverlap<A>, A>(args);
      case NmsKind::kRotated: return run<RotatedOverlap<A>, A>(args);
      case NmsKind::kHull: return run<HullOverlap<A>, A>(args);
    }
  });
}

}  // namespace stn_det::cuda
