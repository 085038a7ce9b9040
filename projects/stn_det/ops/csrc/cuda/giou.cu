// IoU and generalised IoU of pairs of rotated boxes on CUDA, one pair a thread.
#include "../common/giou_pair.h"

#include "../entry/overlap.h"
#include "elements.h"
#include "pairs.h"

namespace stn_det::cuda {
namespace {

constexpr int kThreads = 128;

template <typename A, bool kBackward>
__global__ void __launch_bounds__(kThreads) visit_pairs(GiouArgs args) {
  const int64_t pair = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (pair >= args.pairs) return;
  const Numbers<A, 5> first = load_numbers<5>(static_cast<const A*>(args.first) + pair * 5);
  const Numbers<A, 5> second = load_numbers<5>(static_cast<const A*>(args.second) + pair * 5);
  if constexpr (kBackward) {
    const A grad_iou = static_cast<const A*>(args.grad_iou)[pair];
    const A grad_giou = static_cast<const A*>(args.grad_giou)[pair];
    Numbers<A, 5> grad1, grad2;
    iou_giou_backward<A>(first.at, second.at, &grad_iou, &grad_giou, grad1.at, grad2.at);
    for (int k = 0; k < 5; ++k) {
      static_cast<A*>(args.grad_first)[pair * 5 + k] = grad1.at[k];
      static_cast<A*>(args.grad_second)[pair * 5 + k] = grad2.at[k];
    }
  } else {
    A iou, giou;
    iou_giou<A>(first.at, second.at, &iou, &giou);
    static_cast<A*>(args.iou)[pair] = iou;
    static_cast<A*>(args.giou)[pair] = giou;
  }
}

template <bool kBackward>
void run(const char* name, const GiouArgs& args) {
  const unsigned blocks = blocks_for(args.pairs, kThreads);
  for_wide_element(args.element, [&](auto element) {
    launch(name, visit_pairs<decltype(element), kBackward>, blocks, kThreads, 0, args.stream, args);
  });
}

}  // namespace

void giou_forward(const GiouArgs& args) { run<false>("giou_forward", args); }
void giou_backward(const GiouArgs& args) { run<true>("giou_backward", args); }

}  // namespace stn_det::cuda
