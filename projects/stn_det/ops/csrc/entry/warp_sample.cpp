// Entry points of the fused warp. Shapes and dtypes are checked in Python; what could reach memory outside
// the tensors is checked here again.
#include <initializer_list>
#include <limits>
#include <tuple>

#include "run.h"
#include "tensors.h"
#include "warp_sample.h"

namespace stn_det {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

Strides strides_of(const Tensor& tensor) {
  return {tensor.stride(0), tensor.stride(1), tensor.stride(2), tensor.stride(3)};
}

// The tensor itself where its columns or its channels lie side by side, which is what the kernels read.
Tensor readable(const Tensor& tensor) {
  return tensor.stride(3) == 1 || tensor.stride(1) == 1 ? tensor : torch::stable::contiguous(tensor);
}

// The same where all elements lie side by side too, for the search of the largest.
Tensor dense(const Tensor& tensor) {
  const int64_t c = tensor.size(1), h = tensor.size(2), w = tensor.size(3);
  const bool last = tensor.stride(1) == 1 && tensor.stride(3) == c && tensor.stride(2) == w * c &&
                    tensor.stride(0) == h * w * c;
  return last ? tensor : torch::stable::contiguous(tensor);
}

// A tensor (N, C, H, W) in the layout of the input, empty or of zeros.
Tensor new_image(
    const Tensor& like, ScalarType dtype, int64_t n, int64_t c, int64_t h, int64_t w, bool channels_last,
    bool zeros = false) {
  const auto make = [&](std::initializer_list<int64_t> sizes) {
    return zeros ? torch::stable::new_zeros(like, sizes, dtype) : torch::stable::new_empty(like, sizes, dtype);
  };
  if (!channels_last) return make({n, c, h, w});
  return torch::stable::transpose(torch::stable::transpose(make({n, h, w, c}), 1, 3), 2, 3);
}

// The part of the arguments that forward and backward share. The tensors must outlive the result.
WarpArgs arguments(const Tensor& input, const Tensor& matrix, int64_t mode, int64_t padding, bool antialias) {
  STD_TORCH_CHECK(input.dim() == 4, "input has ", input.dim(), " dimensions, expected 4 (N, C, H, W)");
  STD_TORCH_CHECK(
      matrix.dim() == 3 && matrix.size(0) == input.size(0) && (matrix.size(1) == 2 || matrix.size(1) == 3) &&
          matrix.size(2) == 3 && matrix.scalar_type() == ScalarType::Double,
      "matrix has to be float64 of shape (N, 2, 3) or (N, 3, 3) with N = ", input.size(0), " like input");
  check_device("matrix", matrix, input);
  STD_TORCH_CHECK(mode >= 0 && mode <= 2, "mode is ", mode, ", expected 0, 1 or 2");
  STD_TORCH_CHECK(padding >= 0 && padding <= 2, "padding is ", padding, ", expected 0, 1 or 2");
  WarpArgs args{};
  args.images = input.size(0);
  args.channels = input.size(1);
  args.height = input.size(2);
  args.width = input.size(3);
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max() - 16;
  STD_TORCH_CHECK(
      args.height >= 1 && args.width >= 1 && args.height <= kMost && args.width <= kMost,
      "input is ", args.height, " x ", args.width, ", expected 1 to 2^31 - 17 rows and columns");
  args.matrix_rows = matrix.size(1);
  args.mode = static_cast<WarpMode>(mode);
  args.padding = static_cast<WarpPadding>(padding);
  args.antialias = antialias;
  args.element = element_of("input", input);
  args.input = input.const_data_ptr();
  args.input_strides = strides_of(input);
  args.matrix = static_cast<const double*>(matrix.const_data_ptr());
  set_machine(input, args);
  return args;
}

Tensor warp_sample(
    Tensor input, Tensor matrix, int64_t height, int64_t width, int64_t mode, int64_t padding, bool antialias,
    bool channels_last) {
  make_contiguous(matrix);
  STD_TORCH_CHECK(height >= 0 && width >= 0, "out_size is ", height, " x ", width, ", expected no negative number");
  STD_TORCH_CHECK(input.dim() == 4, "input has ", input.dim(), " dimensions, expected 4 (N, C, H, W)");
  input = readable(input);
  WarpArgs args = arguments(input, matrix, mode, padding, antialias);
  args.out_height = height;
  args.out_width = width;
  Tensor output = new_image(input, input.scalar_type(), args.images, args.channels, height, width, channels_last);
  args.output = output.mutable_data_ptr();
  args.output_strides = strides_of(output);
  STN_DET_RUN(warp_sample_forward, args);
  return output;
}

std::tuple<Tensor, Tensor> warp_sample_backward(
    Tensor grad_output, Tensor input, Tensor matrix, int64_t mode, int64_t padding, bool antialias, bool channels_last,
    bool to_input, bool to_matrix, bool deterministic) {
  make_contiguous(matrix);
  STD_TORCH_CHECK(
      input.dim() == 4 && grad_output.dim() == 4 && grad_output.scalar_type() == input.scalar_type() &&
          grad_output.size(0) == input.size(0) && grad_output.size(1) == input.size(1),
      "grad_output does not have the shape and dtype of the output");
  check_device("grad_output", grad_output, input);
  input = readable(input);
  grad_output = kOnCuda && deterministic ? dense(grad_output) : readable(grad_output);
  WarpArgs args = arguments(input, matrix, mode, padding, antialias);
  args.out_height = grad_output.size(2);
  args.out_width = grad_output.size(3);
  args.grad_output = grad_output.const_data_ptr();
  args.grad_output_strides = strides_of(grad_output);
  STD_TORCH_CHECK(
      !to_input || (args.height + 1) * (args.width + 1) <= std::numeric_limits<int32_t>::max(),
      "input is ", args.height, " x ", args.width, ", expected fewer than 2^31 pixels for its gradient");
  const ScalarType dtype = input.scalar_type(), sum_dtype = sum_type(input);
  const auto new_gradient = [&](ScalarType of, bool zeros) {
    return new_image(input, of, args.images, args.channels, args.height, args.width, channels_last, zeros);
  };
  Tensor grad_input = to_input ? new_gradient(dtype, kOnCuda && dtype == sum_dtype)
                               : torch::stable::new_empty(input, {0});
  Tensor grad_matrix = to_matrix ? torch::stable::empty_like(matrix) : torch::stable::new_empty(matrix, {0});
  if (to_input) {
    args.grad_input = grad_input.mutable_data_ptr();
    args.grad_input_strides = strides_of(grad_input);
  }
  if (to_matrix) args.grad_matrix = static_cast<double*>(grad_matrix.mutable_data_ptr());
  args.deterministic = deterministic;
  const bool wide_sums = kOnCuda && to_input && dtype != sum_dtype;
  Tensor sums = wide_sums ? new_gradient(sum_dtype, true) : grad_input;
  if (to_input) args.sums = sums.mutable_data_ptr();
  const Tensor scratch = exact_scratch(input, to_input ? grad_input.numel() : 0, args);
  const bool through_points = kOnCuda && to_matrix && args.mode != WarpMode::kNearest;
  const int64_t blocks = through_points ? args.images * WarpGrid(args).blocks() : 0;
  Tensor partial = torch::stable::new_empty(matrix, {blocks, 9});
  if (through_points) args.partial_sums = static_cast<double*>(partial.mutable_data_ptr());
  STN_DET_RUN(warp_sample_backward, args);
  return {grad_input, grad_matrix};
}

}  // namespace
}  // namespace stn_det

STN_DET_LIBRARY(m) {
  m.impl("warp_sample", TORCH_BOX(&stn_det::warp_sample));
  m.impl("warp_sample_backward", TORCH_BOX(&stn_det::warp_sample_backward));
}
