// Entry points of non-maximum suppression. Shapes and dtypes are checked in Python; what could reach memory
// outside the tensors is checked here again.
#include "nms.h"

#include <tuple>

#include "run.h"
#include "tensors.h"

namespace stn_det {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

const int64_t* check_indices(const char* name, const Tensor& tensor, const Tensor& boxes) {
  check_device(name, tensor, boxes);
  STD_TORCH_CHECK(
      tensor.scalar_type() == ScalarType::Long && tensor.dim() == 1 && tensor.size(0) == boxes.size(0), name,
      " has to be int64 of shape (", boxes.size(0), ",)");
  return static_cast<const int64_t*>(tensor.const_data_ptr());
}

template <NmsKind kKind>
Tensor nms(Tensor boxes, Tensor order, Tensor labels, double iou_threshold) {
  check_rows("boxes", boxes, kKind == NmsKind::kHBox ? 4 : kKind == NmsKind::kRotated ? 5 : 8);
  // Positions and the sums of a few of them are ints on a GPU.
  STD_TORCH_CHECK(
      !kOnCuda || boxes.size(0) < (int64_t{1} << 30), "boxes has ", boxes.size(0), " rows, expected fewer than 2^30");
  make_contiguous(boxes, order, labels);
  NmsArgs args{};
  args.kind = kKind;
  args.element = wide_element("boxes", boxes);
  args.count = boxes.size(0);
  args.boxes = boxes.const_data_ptr();
  args.order = check_indices("order", order, boxes);
  args.labels = check_indices("labels", labels, boxes);
  for (int64_t i = 0; i < (kOnCuda ? 0 : args.count); ++i) {  // a GPU is not waited for
    STD_TORCH_CHECK(
        args.order[i] >= 0 && args.order[i] < args.count, "order holds ", args.order[i], ", expected an index below ",
        args.count);
  }
  args.threshold = iou_threshold;
  set_machine(boxes, args);
  Tensor owner = torch::stable::empty_like(order);
  args.owner = static_cast<int64_t*>(owner.mutable_data_ptr());
  const int64_t bytes = kOnCuda ? nms_scratch_bytes(kKind, args.count, args.element == Element::kFloat64 ? 8 : 4) : 0;
  Tensor scratch = torch::stable::new_empty(order, {(bytes + 7) / 8});
  args.scratch = scratch.mutable_data_ptr();
  STN_DET_RUN(nms, args);
  return owner;
}

std::tuple<Tensor, Tensor> soft_nms(
    Tensor boxes, Tensor scores, double iou_threshold, double sigma, double min_score, int64_t method, int64_t offset) {
  check_rows("boxes", boxes, 4);
  // A lane remembers the number of its best vector in an integer as wide as a score.
  STD_TORCH_CHECK(boxes.size(0) < (int64_t{1} << 31), "boxes has ", boxes.size(0), " rows, expected fewer than 2^31");
  make_contiguous(boxes, scores);
  check_same_type(scores, boxes);
  SoftNmsArgs args{};
  args.element = wide_element("boxes", boxes);
  args.count = boxes.size(0);
  STD_TORCH_CHECK(
      scores.numel() == args.count, "scores has ", scores.numel(), " elements, expected ", args.count, " like boxes");
  STD_TORCH_CHECK(method >= 0 && method <= 2, "method is ", method, ", expected 0, 1 or 2");
  args.boxes = boxes.const_data_ptr();
  args.scores = scores.const_data_ptr();
  set_machine(boxes, args);
  args.threshold = iou_threshold;
  args.sigma = sigma;
  args.min_score = min_score;
  args.offset = static_cast<double>(offset);
  args.method = static_cast<SoftMethod>(method);
  Tensor visits = torch::stable::new_empty(scores, {args.count}, ScalarType::Long);
  Tensor lowered = torch::stable::new_zeros(scores, {args.count});
  args.visits = static_cast<int64_t*>(visits.mutable_data_ptr());
  args.lowered = lowered.mutable_data_ptr();
  const int64_t waiting = kOnCuda && args.count > kSoftNmsHeld ? args.count : 0;
  Tensor scratch = torch::stable::new_empty(scores, {waiting, kSoftNmsNumbers});
  args.scratch = scratch.mutable_data_ptr();
  STN_DET_RUN(soft_nms, args);
  return {visits, lowered};
}

}  // namespace
}  // namespace stn_det

STN_DET_LIBRARY(m) {
  using stn_det::NmsKind;
  m.impl("nms", TORCH_BOX(&stn_det::nms<NmsKind::kHBox>));
  m.impl("nms_rotated", TORCH_BOX(&stn_det::nms<NmsKind::kRotated>));
  m.impl("nms_quadri", TORCH_BOX(&stn_det::nms<NmsKind::kHull>));
  m.impl("soft_nms", TORCH_BOX(&stn_det::soft_nms));
}
