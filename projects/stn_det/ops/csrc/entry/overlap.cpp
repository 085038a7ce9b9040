// Entry points of the overlap operators. Shapes and dtypes are checked in Python; what could reach memory
// outside the tensors is checked here again.
#include "overlap.h"

#include <tuple>

#include "run.h"
#include "tensors.h"

namespace stn_det {
namespace {

using torch::stable::Tensor;

OverlapArgs arguments(OverlapKind kind, const Tensor& first, const Tensor& second, bool aligned, bool iof) {
  check_rows("first", first, kind == OverlapKind::kHull ? 8 : 5);
  check_rows("second", second, kind == OverlapKind::kRotated ? 5 : 8);
  check_same_type(second, first);
  STD_TORCH_CHECK(
      !aligned || first.size(0) == second.size(0), "aligned compares row by row, but there are ", first.size(0),
      " first and ", second.size(0), " second shapes");
  OverlapArgs args{};
  args.kind = kind;
  args.element = wide_element("first", first);
  args.aligned = aligned;
  args.iof = iof;
  args.rows = first.size(0);
  args.columns = second.size(0);
  args.first = first.const_data_ptr();
  args.second = second.const_data_ptr();
  set_machine(first, args);
  return args;
}

// Room for the sums of the segments of either side, one after the other; nothing where none is needed.
Tensor segment_scratch(const Tensor& first, const Tensor& second, OverlapArgs& args) {
  int64_t numbers = 0;
  if (kOnCuda && !args.aligned && args.rows > 0 && args.columns > 0) {
    const int64_t of_first = overlap_segments(args.rows, args.columns) * first.numel();
    const int64_t of_second = overlap_segments(args.columns, args.rows) * second.numel();
    numbers = of_first > of_second ? of_first : of_second;
  }
  Tensor scratch = torch::stable::new_empty(first, {numbers});
  args.scratch = scratch.mutable_data_ptr();
  return scratch;
}

template <OverlapKind kKind>
Tensor overlap(Tensor first, Tensor second, bool aligned, bool iof) {
  make_contiguous(first, second);
  OverlapArgs args = arguments(kKind, first, second, aligned, iof);
  Tensor output = aligned ? torch::stable::new_empty(first, {args.rows})
                          : torch::stable::new_empty(first, {args.rows, args.columns});
  args.output = output.mutable_data_ptr();
  if (output.numel() > 0) STN_DET_RUN(overlap_forward, args);
  return output;
}

template <OverlapKind kKind>
std::tuple<Tensor, Tensor> overlap_backward(
    Tensor grad_output, Tensor first, Tensor second, bool aligned, bool iof) {
  make_contiguous(grad_output, first, second);
  OverlapArgs args = arguments(kKind, first, second, aligned, iof);
  check_same_type(grad_output, first);
  const bool fits = aligned ? grad_output.dim() == 1 && grad_output.size(0) == args.rows
                            : grad_output.dim() == 2 && grad_output.size(0) == args.rows &&
                                  grad_output.size(1) == args.columns;
  STD_TORCH_CHECK(fits, "grad_output does not have the shape of the output");
  Tensor grad_first = torch::stable::new_zeros(first, first.sizes());
  Tensor grad_second = torch::stable::new_zeros(second, second.sizes());
  args.grad_output = grad_output.const_data_ptr();
  args.grad_first = grad_first.mutable_data_ptr();
  args.grad_second = grad_second.mutable_data_ptr();
  const Tensor scratch = segment_scratch(first, second, args);
  if (grad_output.numel() > 0) STN_DET_RUN(overlap_backward, args);
  return {grad_first, grad_second};
}

GiouArgs giou_arguments(const Tensor& first, const Tensor& second) {
  check_rows("boxes1", first, 5);
  check_rows("boxes2", second, 5);
  check_same_type(second, first);
  STD_TORCH_CHECK(
      first.size(0) == second.size(0), "boxes1 has ", first.size(0), " rows and boxes2 has ", second.size(0));
  GiouArgs args{};
  args.element = wide_element("boxes1", first);
  args.pairs = first.size(0);
  args.first = first.const_data_ptr();
  args.second = second.const_data_ptr();
  set_machine(first, args);
  return args;
}

std::tuple<Tensor, Tensor> rotated_iou_giou(Tensor first, Tensor second) {
  make_contiguous(first, second);
  GiouArgs args = giou_arguments(first, second);
  Tensor iou = torch::stable::new_empty(first, {args.pairs});
  Tensor giou = torch::stable::new_empty(first, {args.pairs});
  args.iou = iou.mutable_data_ptr();
  args.giou = giou.mutable_data_ptr();
  STN_DET_RUN(giou_forward, args);
  return {iou, giou};
}

std::tuple<Tensor, Tensor> rotated_iou_giou_backward(Tensor grad_iou, Tensor grad_giou, Tensor first, Tensor second) {
  make_contiguous(grad_iou, grad_giou, first, second);
  GiouArgs args = giou_arguments(first, second);
  check_same_type(grad_iou, first);
  check_same_type(grad_giou, first);
  STD_TORCH_CHECK(
      grad_iou.numel() == args.pairs && grad_giou.numel() == args.pairs, "grad_iou and grad_giou need ", args.pairs,
      " elements");
  Tensor grad_first = torch::stable::empty_like(first);
  Tensor grad_second = torch::stable::empty_like(second);
  args.grad_iou = grad_iou.const_data_ptr();
  args.grad_giou = grad_giou.const_data_ptr();
  args.grad_first = grad_first.mutable_data_ptr();
  args.grad_second = grad_second.mutable_data_ptr();
  STN_DET_RUN(giou_backward, args);
  return {grad_first, grad_second};
}

}  // namespace
}  // namespace stn_det

STN_DET_LIBRARY(m) {
  using stn_det::OverlapKind;
  m.impl("box_iou_rotated", TORCH_BOX(&stn_det::overlap<OverlapKind::kRotated>));
  m.impl("box_iou_rotated_backward", TORCH_BOX(&stn_det::overlap_backward<OverlapKind::kRotated>));
  m.impl("box_iou_quadri", TORCH_BOX(&stn_det::overlap<OverlapKind::kBoxQuad>));
  m.impl("box_iou_quadri_backward", TORCH_BOX(&stn_det::overlap_backward<OverlapKind::kBoxQuad>));
  m.impl("quadri_iou", TORCH_BOX(&stn_det::overlap<OverlapKind::kHull>));
  m.impl("quadri_iou_backward", TORCH_BOX(&stn_det::overlap_backward<OverlapKind::kHull>));
  m.impl("rotated_iou_giou", TORCH_BOX(&stn_det::rotated_iou_giou));
  m.impl("rotated_iou_giou_backward", TORCH_BOX(&stn_det::rotated_iou_giou_backward));
}
