// Entry points of the fused warp. Shapes and dtypes are checked in Python; what could reach memory outside
// the tensors is checked here again.
#include <tuple>

#include "run.h"
#include "warp_images.h"

namespace stn_det {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// The part of the arguments that forward and backward share. The tensors must outlive the result.
WarpArgs arguments(Tensor& input, Tensor& matrix, int64_t mode, int64_t padding, bool antialias) {
  WarpArgs args = image_arguments(input, mode, padding);
  STD_TORCH_CHECK(
      matrix.dim() == 3 && matrix.size(0) == input.size(0) && (matrix.size(1) == 2 || matrix.size(1) == 3) &&
          matrix.size(2) == 3 && matrix.scalar_type() == ScalarType::Double,
      "matrix has to be float64 of shape (N, 2, 3) or (N, 3, 3) with N = ", input.size(0), " like input");
  check_device("matrix", matrix, input);
  make_contiguous(matrix);
  args.matrix_rows = matrix.size(1);
  args.antialias = antialias;
  args.matrix = static_cast<const double*>(matrix.const_data_ptr());
  return args;
}

Tensor warp_sample(
    Tensor input, Tensor matrix, int64_t height, int64_t width, int64_t mode, int64_t padding, bool antialias,
    bool channels_last) {
  STD_TORCH_CHECK(height >= 0 && width >= 0, "out_size is ", height, " x ", width, ", expected no negative number");
  WarpArgs args = arguments(input, matrix, mode, padding, antialias);
  args.out_height = height;
  args.out_width = width;
  Tensor output = new_output(input, channels_last, args);
  STN_DET_RUN(warp_sample_forward, args);
  return output;
}

std::tuple<Tensor, Tensor> warp_sample_backward(
    Tensor grad_output, Tensor input, Tensor matrix, int64_t mode, int64_t padding, bool antialias, bool channels_last,
    bool to_input, bool to_matrix, bool deterministic) {
  WarpArgs args = arguments(input, matrix, mode, padding, antialias);
  read_gradient(input, grad_output, deterministic, args);
  const InputGradient grad_input = new_input_gradient(input, channels_last, to_input, args);
  Tensor grad_matrix = to_matrix ? torch::stable::empty_like(matrix) : torch::stable::new_empty(matrix, {0});
  if (to_matrix) args.grad_matrix = static_cast<double*>(grad_matrix.mutable_data_ptr());
  const bool through_points = kOnCuda && to_matrix && args.mode != WarpMode::kNearest;
  const int64_t blocks = through_points ? args.images * WarpGrid(args).blocks() : 0;
  Tensor partial = torch::stable::new_empty(matrix, {blocks, 9});
  if (through_points) args.partial_sums = static_cast<double*>(partial.mutable_data_ptr());
  STN_DET_RUN(warp_sample_backward, args);
  return {grad_input.gradient, grad_matrix};
}

}  // namespace
}  // namespace stn_det

STN_DET_LIBRARY(m) {
  m.impl("warp_sample", TORCH_BOX(&stn_det::warp_sample));
  m.impl("warp_sample_backward", TORCH_BOX(&stn_det::warp_sample_backward));
}
