// IoU and generalised IoU of pairs of rotated boxes on the CPU; compiled once per instruction set. A vector of pairs at
// a time.
#include <algorithm>

#include "../common/giou_pair.h"
#include "../entry/overlap.h"
#include "shapes.h"

namespace stn_det::STN_DET_ISA {
namespace {

constexpr int64_t kBlocksPerTask = 128;  // of pairs; some 50 us, below which threads cost more than they give

// `count` numbers of a tensor from `begin` on.
template <typename A>
Vec<A> load_some(const void* values, int64_t begin, int64_t count) {
  Vec<A> out = {};
  for (int64_t lane = 0; lane < count; ++lane) out[lane] = static_cast<const A*>(values)[begin + lane];
  return out;
}

template <typename A, bool kBackward>
void run(const GiouArgs& args) {
  const int64_t blocks = (args.pairs + kLanes<A> - 1) / kLanes<A>;
  for_ranges(args.parallel_for, 0, blocks, kBlocksPerTask, [&](int64_t first_block, int64_t last_block) {
    for (int64_t block = first_block; block < last_block; ++block) {
      const int64_t begin = block * kLanes<A>, lanes = std::min(kLanes<A>, args.pairs - begin);
      Vec<A> raw1[5], raw2[5];
      load_rows<5>(static_cast<const A*>(args.first) + begin * 5, lanes, raw1);
      load_rows<5>(static_cast<const A*>(args.second) + begin * 5, lanes, raw2);
      if constexpr (kBackward) {
        const Vec<A> grad_iou = load_some<A>(args.grad_iou, begin, lanes);
        const Vec<A> grad_giou = load_some<A>(args.grad_giou, begin, lanes);
        Vec<A> grad1[5], grad2[5];
        iou_giou_backward<Vec<A>>(raw1, raw2, &grad_iou, &grad_giou, grad1, grad2);
        for (int64_t lane = 0; lane < lanes; ++lane) {
          for (int k = 0; k < 5; ++k) {
            static_cast<A*>(args.grad_first)[(begin + lane) * 5 + k] = grad1[k][lane];
            static_cast<A*>(args.grad_second)[(begin + lane) * 5 + k] = grad2[k][lane];
          }
        }
      } else {
        Vec<A> iou, giou;
        iou_giou<Vec<A>>(raw1, raw2, &iou, &giou);
        for (int64_t lane = 0; lane < lanes; ++lane) {
          static_cast<A*>(args.iou)[begin + lane] = iou[lane];
          static_cast<A*>(args.giou)[begin + lane] = giou[lane];
        }
      }
    }
  });
}

}  // namespace

void giou_forward(const GiouArgs& args) {
  args.element == Element::kFloat64 ? run<double, false>(args) : run<float, false>(args);
}

void giou_backward(const GiouArgs& args) {
  args.element == Element::kFloat64 ? run<double, true>(args) : run<float, true>(args);
}

}  // namespace stn_det::STN_DET_ISA
