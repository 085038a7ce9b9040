// Entry points of multi-scale deformable attention on the CPU. Shapes and dtypes are checked in Python; what could reach
// memory outside the tensors is checked here again.
#include <torch/csrc/stable/library.h>

#include <tuple>

#include "ms_deform_attn.h"
#include "tensors.h"
#include "torch_parallel.h"

namespace stn_det {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// The part of the arguments that forward and backward share. All tensors must be contiguous and outlive the result.
AttentionArgs arguments(
    const Tensor& value, const Tensor& shapes, const Tensor& starts, const Tensor& locations, const Tensor& weights) {
  STD_TORCH_CHECK(value.dim() == 4, "value has ", value.dim(), " dimensions, expected 4 (N, S, G, D)");
  STD_TORCH_CHECK(locations.dim() == 6, "sampling_locations has ", locations.dim(), " dimensions, expected 6");
  AttentionArgs args{};
  args.images = value.size(0);
  args.positions = value.size(1);
  args.heads = value.size(2);
  args.channels = value.size(3);
  args.queries = locations.size(1);
  args.levels = locations.size(3);
  args.points = locations.size(4);
  const int64_t samples = args.images * args.queries * args.heads * args.levels * args.points;
  STD_TORCH_CHECK(
      locations.numel() == 2 * samples && weights.numel() == samples,
      "sampling_locations and attention_weights do not fit value and each other");
  check_sum_type("sampling_locations", locations, value);
  check_sum_type("attention_weights", weights, value);
  STD_TORCH_CHECK(
      shapes.scalar_type() == ScalarType::Long && starts.scalar_type() == ScalarType::Long &&
          shapes.numel() == 2 * args.levels && starts.numel() == args.levels,
      "spatial_shapes and level_start_index have to be int64 of shape (L, 2) and (L,)");
  args.element = element_of("value", value);
  args.shapes = static_cast<const int64_t*>(shapes.const_data_ptr());
  args.starts = static_cast<const int64_t*>(starts.const_data_ptr());
  for (int64_t level = 0; level < args.levels; ++level) {
    const int64_t height = args.shapes[2 * level], width = args.shapes[2 * level + 1], start = args.starts[level];
    STD_TORCH_CHECK(
        height >= 0 && width >= 0 && start >= 0 && (height == 0 || width <= (args.positions - start) / height),
        "level ", level, " of ", height, " x ", width, " from position ", start, " does not fit the ", args.positions,
        " positions of value");
  }
  args.value = value.const_data_ptr();
  args.locations = locations.const_data_ptr();
  args.weights = weights.const_data_ptr();
  args.threads = torch::stable::get_num_threads();
  args.parallel_for = torch_parallel_for_ranges;
  return args;
}

Tensor ms_deform_attn(Tensor value, Tensor shapes, Tensor starts, Tensor locations, Tensor weights) {
  value = torch::stable::contiguous(value);
  shapes = torch::stable::contiguous(shapes);
  starts = torch::stable::contiguous(starts);
  locations = torch::stable::contiguous(locations);
  weights = torch::stable::contiguous(weights);
  AttentionArgs args = arguments(value, shapes, starts, locations, weights);
  Tensor output = torch::stable::new_empty(value, {args.images, args.queries, args.heads * args.channels});
  args.output = output.mutable_data_ptr();
  has_avx2() ? avx2::ms_deform_attn_forward(args) : baseline::ms_deform_attn_forward(args);
  return output;
}

std::tuple<Tensor, Tensor, Tensor> ms_deform_attn_backward(
    Tensor grad_output, Tensor value, Tensor shapes, Tensor starts, Tensor locations, Tensor weights) {
  grad_output = torch::stable::contiguous(grad_output);
  value = torch::stable::contiguous(value);
  shapes = torch::stable::contiguous(shapes);
  starts = torch::stable::contiguous(starts);
  locations = torch::stable::contiguous(locations);
  weights = torch::stable::contiguous(weights);
  AttentionArgs args = arguments(value, shapes, starts, locations, weights);
  check_sum_type("grad_output", grad_output, value);
  STD_TORCH_CHECK(
      grad_output.numel() == args.images * args.queries * args.heads * args.channels,
      "grad_output does not have the shape of the output");
  Tensor grad_value = torch::stable::new_zeros(value, value.sizes(), sum_type(value));
  Tensor grad_locations = torch::stable::empty_like(locations);
  Tensor grad_weights = torch::stable::empty_like(weights);
  args.grad_output = grad_output.const_data_ptr();
  args.grad_value = grad_value.mutable_data_ptr();
  args.grad_locations = grad_locations.mutable_data_ptr();
  args.grad_weights = grad_weights.mutable_data_ptr();
  has_avx2() ? avx2::ms_deform_attn_backward(args) : baseline::ms_deform_attn_backward(args);
  return {grad_value, grad_locations, grad_weights};
}

}  // namespace
}  // namespace stn_det

STABLE_TORCH_LIBRARY_IMPL(stn_det, CPU, m) {
  m.impl("ms_deform_attn", TORCH_BOX(&stn_det::ms_deform_attn));
  m.impl("ms_deform_attn_backward", TORCH_BOX(&stn_det::ms_deform_attn_backward));
}
