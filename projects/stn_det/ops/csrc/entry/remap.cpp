// Entry points of reading at given points. Shapes and dtypes are checked in Python; what could reach memory outside
// the tensors is checked here again.
#include <tuple>

#include "run.h"
#include "warp_images.h"

namespace stn_det {
namespace {

using torch::stable::Tensor;

// The part of the arguments that forward and backward share. The tensors must outlive the result.
WarpArgs arguments(Tensor& input, const Tensor& points, int64_t mode, int64_t padding) {
  WarpArgs args = image_arguments(input, mode, padding);
  STD_TORCH_CHECK(
      points.dim() == 4 && points.size(0) == input.size(0) && points.size(3) == 2,
      "points has to be of shape (N, h, w, 2) with N = ", input.size(0), " like input");
  check_device("points", points, input);
  args.points = points.const_data_ptr();
  args.points_strides = {points.stride(0), points.stride(1), points.stride(2), points.stride(3)};
  args.points_element = wide_element("points", points);
  args.out_height = points.size(1);
  args.out_width = points.size(2);
  return args;
}

Tensor remap(Tensor input, Tensor points, int64_t mode, int64_t padding, bool channels_last) {
  WarpArgs args = arguments(input, points, mode, padding);
  Tensor output = new_output(input, channels_last, args);
  if (output.numel() > 0) STN_DET_RUN(remap_forward, args);
  return output;
}

std::tuple<Tensor, Tensor> remap_backward(
    Tensor grad_output, Tensor input, Tensor points, int64_t mode, int64_t padding, bool channels_last, bool to_input,
    bool to_points, bool deterministic) {
  WarpArgs args = arguments(input, points, mode, padding);
  const int64_t height = args.out_height, width = args.out_width;
  read_gradient(input, grad_output, deterministic, args);
  STD_TORCH_CHECK(
      args.out_height == height && args.out_width == width, "grad_output is ", args.out_height, " x ", args.out_width,
      ", expected ", height, " x ", width, " like points");
  const InputGradient grad_input = new_input_gradient(input, channels_last, to_input, args);
  Tensor grad_points = torch::stable::new_empty(points, {0});
  if (to_points && args.mode != WarpMode::kNearest && args.channels > 0) {
    grad_points = torch::stable::new_empty(points, {args.images, height, width, 2});
    args.grad_points = grad_points.mutable_data_ptr();
  } else if (to_points) {
    grad_points = torch::stable::new_zeros(points, {args.images, height, width, 2});
  }
  const int64_t parts = kOnCuda && args.grad_points != nullptr ? WarpGrid(args).parts : 1;
  Tensor partial = torch::stable::new_empty(
      input, {parts > 1 ? parts : 0, args.images, height, width, 2}, torch::headeronly::ScalarType::Double);
  if (parts > 1) args.partial_slopes = static_cast<double*>(partial.mutable_data_ptr());
  STN_DET_RUN(remap_backward, args);
  return {grad_input.gradient, grad_points};
}

}  // namespace
}  // namespace stn_det

STN_DET_LIBRARY(m) {
  m.impl("remap", TORCH_BOX(&stn_det::remap));
  m.impl("remap_backward", TORCH_BOX(&stn_det::remap_backward));
}
