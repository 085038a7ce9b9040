// Entry points of the sampling of deformable convolution. Shapes and dtypes are checked in Python; what
// could reach memory outside the tensors is checked here again.
#include <limits>
#include <optional>
#include <vector>

#include "deform_im2col.h"
#include "run.h"
#include "tensors.h"

namespace stn_det {
namespace {

using torch::stable::Tensor;
using Pair = std::vector<int64_t>;

// Below this, every position in pixels fits 64 bits.
constexpr int64_t kSmall = int64_t{1} << 31;

void check_pair(const char* name, const Pair& pair, int64_t least, int64_t* out) {
  STD_TORCH_CHECK(
      pair.size() == 2 && pair[0] >= least && pair[1] >= least && pair[0] < kSmall && pair[1] < kSmall, name,
      " has to be two numbers (vertical, horizontal) from ", least, " to ", kSmall - 1);
  out[0] = pair[0];
  out[1] = pair[1];
}

// A tensor that is written in place: none, or contiguous, of the summation type and shaped like another one.
void* destination(const char* name, const std::optional<Tensor>& tensor, const Tensor& like) {
  if (!tensor.has_value()) return nullptr;
  check_sum_type(name, *tensor, like);
  STD_TORCH_CHECK(tensor->is_contiguous(), name, " has to be contiguous");
  STD_TORCH_CHECK(tensor->dim() == like.dim(), name, " has ", tensor->dim(), " dimensions, expected ", like.dim());
  for (int64_t k = 0; k < like.dim(); ++k) {
    STD_TORCH_CHECK(
        tensor->size(k) == like.size(k), name, " has size ", tensor->size(k), " in dimension ", k, ", expected ",
        like.size(k));
  }
  return tensor->mutable_data_ptr();
}

// The part of the arguments that forward and backward share. All tensors must be contiguous and outlive the result.
DeformArgs arguments(
    const Tensor& input, const Tensor& offset, const std::optional<Tensor>& mask, const Pair& kernel,
    const Pair& stride, const Pair& padding, const Pair& dilation, int64_t groups, int64_t offset_groups, int64_t first,
    int64_t last) {
  STD_TORCH_CHECK(input.dim() == 4, "input has ", input.dim(), " dimensions, expected 4 (N, H, W, C)");
  STD_TORCH_CHECK(offset.dim() == 4, "offset has ", offset.dim(), " dimensions, expected 4 (N, D * K * 2, h, w)");
  DeformArgs args{};
  args.images = input.size(0);
  args.height = input.size(1);
  args.width = input.size(2);
  args.channels = input.size(3);
  args.out_height = offset.size(2);
  args.out_width = offset.size(3);
  check_pair("kernel", kernel, 1, args.kernel);
  check_pair("stride", stride, 1, args.stride);
  check_pair("padding", padding, 0, args.padding);
  check_pair("dilation", dilation, 1, args.dilation);
  STD_TORCH_CHECK(
      groups >= 1 && offset_groups >= 1 && args.channels % groups == 0 && args.channels % offset_groups == 0,
      "groups = ", groups, " and offset_groups = ", offset_groups, " have to divide the ", args.channels, " channels");
  STD_TORCH_CHECK(
      args.out_height < kSmall && args.out_width < kSmall && offset_groups < kSmall,
      "the output has ", args.out_height, " x ", args.out_width, " pixels, expected less than 2^31 each way");
  const int64_t limit = std::numeric_limits<int64_t>::max() / 2 / offset_groups;
  STD_TORCH_CHECK(
      args.kernel[0] <= limit / args.kernel[1], "kernel of ", args.kernel[0], " x ", args.kernel[1], " is too large");
  const int64_t points = offset_groups * args.kernel[0] * args.kernel[1];
  STD_TORCH_CHECK(
      offset.size(0) == args.images && offset.size(1) == 2 * points, "offset has ", offset.size(0), " images of ",
      offset.size(1), " channels, expected ", args.images, " of ", 2 * points);
  check_sum_type("offset", offset, input);
  if (mask.has_value()) {
    STD_TORCH_CHECK(
        mask->dim() == 4 && mask->size(0) == args.images && mask->size(1) == points &&
            mask->size(2) == args.out_height && mask->size(3) == args.out_width,
        "mask has to be of shape (", args.images, ", ", points, ", ", args.out_height, ", ", args.out_width, ")");
    check_sum_type("mask", *mask, input);
  }
  const int64_t pixels = args.images * args.out_height * args.out_width;
  STD_TORCH_CHECK(
      0 <= first && first <= last && last <= pixels, "pixels ", first, " to ", last,
      " were asked for, expected a range in 0 to ", pixels);
  args.groups = groups;
  args.offset_groups = offset_groups;
  args.first = first;
  args.last = last;
  args.element = element_of("input", input);
  STD_TORCH_CHECK(
      kOnCuda || args.element == Element::kFloat64 || args.element == Element::kFloat32,
      "input has to be float32 or float64 on a CPU; deform_conv2d takes the others");
  args.input = input.const_data_ptr();
  args.offset = offset.const_data_ptr();
  args.mask = mask.has_value() ? mask->const_data_ptr() : nullptr;
  set_machine(input, args);
  return args;
}

std::optional<Tensor> contiguous(const std::optional<Tensor>& tensor) {
  return tensor.has_value() ? std::optional<Tensor>(torch::stable::contiguous(*tensor)) : std::nullopt;
}

Tensor deform_im2col(
    Tensor input, Tensor offset, std::optional<Tensor> mask, Pair kernel, Pair stride, Pair padding, Pair dilation,
    int64_t groups, int64_t offset_groups, int64_t first, int64_t last) {
  make_contiguous(input, offset);
  mask = contiguous(mask);
  DeformArgs args =
      arguments(input, offset, mask, kernel, stride, padding, dilation, groups, offset_groups, first, last);
  Tensor columns =
      torch::stable::new_empty(input, {groups, last - first, kernel[0] * kernel[1], args.channels / groups});
  args.columns = columns.mutable_data_ptr();
  if (columns.numel() > 0) STN_DET_RUN(deform_im2col_forward, args);
  return columns;
}

void deform_im2col_backward(
    Tensor grad_columns, Tensor input, Tensor offset, std::optional<Tensor> mask, Pair kernel, Pair stride,
    Pair padding, Pair dilation, int64_t groups, int64_t offset_groups, int64_t first, int64_t last,
    std::optional<Tensor> grad_input, std::optional<Tensor> grad_offset, std::optional<Tensor> grad_mask,
    bool deterministic) {
  make_contiguous(grad_columns, input, offset);
  mask = contiguous(mask);
  DeformArgs args =
      arguments(input, offset, mask, kernel, stride, padding, dilation, groups, offset_groups, first, last);
  check_device("grad_columns", grad_columns, input);
  STD_TORCH_CHECK(grad_columns.scalar_type() == input.scalar_type(), "grad_columns has to have the dtype of input");
  STD_TORCH_CHECK(
      grad_columns.numel() == (last - first) * kernel[0] * kernel[1] * args.channels,
      "grad_columns does not have the shape of the columns");
  STD_TORCH_CHECK(mask.has_value() || !grad_mask.has_value(), "grad_mask was passed without a mask");
  args.grad_columns = grad_columns.const_data_ptr();
  args.grad_input = destination("grad_input", grad_input, input);
  args.grad_offset = destination("grad_offset", grad_offset, offset);
  args.grad_mask = mask.has_value() ? destination("grad_mask", grad_mask, *mask) : nullptr;
  args.deterministic = deterministic;
  const Tensor scratch = exact_scratch(input, grad_input.has_value() ? input.numel() : 0, args);
  if (first < last) STN_DET_RUN(deform_im2col_backward, args);
}

}  // namespace
}  // namespace stn_det

STN_DET_LIBRARY(m) {
  m.impl("deform_im2col", TORCH_BOX(&stn_det::deform_im2col));
  m.impl("deform_im2col_backward", TORCH_BOX(&stn_det::deform_im2col_backward));
}
