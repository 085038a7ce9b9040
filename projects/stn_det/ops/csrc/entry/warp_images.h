// Images and their gradients as the kernels of the warp want them, for its entry points and those of remap.
#pragma once

#include <initializer_list>
#include <limits>

#include "tensors.h"
#include "warp_sample.h"

namespace stn_det {

inline Strides strides_of(const torch::stable::Tensor& tensor) {
  return {tensor.stride(0), tensor.stride(1), tensor.stride(2), tensor.stride(3)};
}

// The tensor itself where its columns or its channels lie side by side, which is what the kernels read.
inline torch::stable::Tensor readable(const torch::stable::Tensor& tensor) {
  return tensor.stride(3) == 1 || tensor.stride(1) == 1 ? tensor : torch::stable::contiguous(tensor);
}

// The same where all elements lie side by side too, for the search of the largest.
inline torch::stable::Tensor dense(const torch::stable::Tensor& tensor) {
  const int64_t c = tensor.size(1), h = tensor.size(2), w = tensor.size(3);
  const bool last = tensor.stride(1) == 1 && tensor.stride(3) == c && tensor.stride(2) == w * c &&
                    tensor.stride(0) == h * w * c;
  return last ? tensor : torch::stable::contiguous(tensor);
}

// A tensor (N, C, H, W) in the layout of the input, empty or of zeros.
inline torch::stable::Tensor new_image(
    const torch::stable::Tensor& like, torch::headeronly::ScalarType dtype, int64_t n, int64_t c, int64_t h, int64_t w,
    bool channels_last, bool zeros = false) {
  const auto make = [&](std::initializer_list<int64_t> sizes) {
    return zeros ? torch::stable::new_zeros(like, sizes, dtype) : torch::stable::new_empty(like, sizes, dtype);
  };
  if (!channels_last) return make({n, c, h, w});
  return torch::stable::transpose(torch::stable::transpose(make({n, h, w, c}), 1, 3), 2, 3);
}

// What forward and backward say of the images that they read. `input` becomes readable and must outlive the result.
inline WarpArgs image_arguments(torch::stable::Tensor& input, int64_t mode, int64_t padding) {
  STD_TORCH_CHECK(input.dim() == 4, "input has ", input.dim(), " dimensions, expected 4 (N, C, H, W)");
  STD_TORCH_CHECK(mode >= 0 && mode <= 2, "mode is ", mode, ", expected 0, 1 or 2");
  STD_TORCH_CHECK(padding >= 0 && padding <= 2, "padding is ", padding, ", expected 0, 1 or 2");
  input = readable(input);
  WarpArgs args{};
  args.images = input.size(0);
  args.channels = input.size(1);
  args.height = input.size(2);
  args.width = input.size(3);
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max() - 16;
  STD_TORCH_CHECK(
      args.height >= 1 && args.width >= 1 && args.height <= kMost && args.width <= kMost,
      "input is ", args.height, " x ", args.width, ", expected 1 to 2^31 - 17 rows and columns");
  args.mode = static_cast<WarpMode>(mode);
  args.padding = static_cast<WarpPadding>(padding);
  args.element = element_of("input", input);
  args.input = input.const_data_ptr();
  args.input_strides = strides_of(input);
  set_machine(input, args);
  return args;
}

// The result of the forward pass, for the size in `args`.
inline torch::stable::Tensor new_output(const torch::stable::Tensor& input, bool channels_last, WarpArgs& args) {
  torch::stable::Tensor output = new_image(
      input, input.scalar_type(), args.images, args.channels, args.out_height, args.out_width, channels_last);
  args.output = output.mutable_data_ptr();
  args.output_strides = strides_of(output);
  return output;
}

// The part of the arguments that every backward pass adds. `grad_output` becomes readable and must outlive `args`.
inline void read_gradient(
    const torch::stable::Tensor& input, torch::stable::Tensor& grad_output, bool deterministic, WarpArgs& args) {
  STD_TORCH_CHECK(
      grad_output.dim() == 4 && grad_output.scalar_type() == input.scalar_type() &&
          grad_output.size(0) == input.size(0) && grad_output.size(1) == input.size(1),
      "grad_output does not have the shape and dtype of the output");
  check_device("grad_output", grad_output, input);
  grad_output = kOnCuda && deterministic ? dense(grad_output) : readable(grad_output);
  args.out_height = grad_output.size(2);
  args.out_width = grad_output.size(3);
  args.grad_output = grad_output.const_data_ptr();
  args.grad_output_strides = strides_of(grad_output);
  args.deterministic = deterministic;
}

// The gradient to the input and what it is summed in, which the kernels write. Empty where it is not wanted.
struct InputGradient {
  torch::stable::Tensor gradient, sums, scratch;
};

inline InputGradient new_input_gradient(
    const torch::stable::Tensor& input, bool channels_last, bool wanted, WarpArgs& args) {
  STD_TORCH_CHECK(
      !wanted || (args.height + 1) * (args.width + 1) <= std::numeric_limits<int32_t>::max(),
      "input is ", args.height, " x ", args.width, ", expected fewer than 2^31 pixels for its gradient");
  const auto make = [&](torch::headeronly::ScalarType of, bool zeros) {
    if (!wanted) return torch::stable::new_empty(input, {0});
    return new_image(input, of, args.images, args.channels, args.height, args.width, channels_last, zeros);
  };
  const bool wide_sums = kOnCuda && input.scalar_type() != sum_type(input);
  InputGradient out;
  out.gradient = make(input.scalar_type(), kOnCuda && !wide_sums);
  out.sums = wide_sums ? make(sum_type(input), true) : out.gradient;
  out.scratch = exact_scratch(input, wanted ? out.gradient.numel() : 0, args);
  if (!wanted) return out;
  args.grad_input = out.gradient.mutable_data_ptr();
  args.grad_input_strides = strides_of(out.gradient);
  args.sums = out.sums.mutable_data_ptr();
  return out;
}

}  // namespace stn_det
