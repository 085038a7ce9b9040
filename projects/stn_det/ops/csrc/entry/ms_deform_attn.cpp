// Entry points of multi-scale deformable attention. Shapes and dtypes are checked in Python; what could
// reach memory outside the tensors is checked here again.
#include <algorithm>
#include <tuple>
#include <vector>

#include "ms_deform_attn.h"
#include "run.h"
#include "tensors.h"

namespace stn_det {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

int64_t product(const Tensor& tensor, int64_t first, int64_t last) {
  int64_t out = 1;
  for (int64_t k = first; k < last; ++k) out *= tensor.size(k);
  return out;
}

// What all entry points share. Every tensor must be contiguous and outlive the result. `points` is the tensor
// (N, Q, G, L, K, 2) of locations or offsets, `weights` the one of K * L numbers a row.
AttentionArgs arguments(
    const Tensor& value, const Tensor& shapes, const Tensor& starts, const char* points_name, const Tensor& points,
    const char* weights_name, const Tensor& weights) {
  STD_TORCH_CHECK(value.dim() == 4, "value has ", value.dim(), " dimensions, expected 4 (N, S, G, D)");
  STD_TORCH_CHECK(points.dim() == 6, points_name, " has ", points.dim(), " dimensions, expected 6 (N, Q, G, L, K, 2)");
  AttentionArgs args{};
  args.images = value.size(0);
  args.positions = value.size(1);
  args.heads = value.size(2);
  args.channels = value.size(3);
  args.queries = points.size(1);
  args.levels = points.size(3);
  args.points = points.size(4);
  STD_TORCH_CHECK(
      args.positions < (int64_t{1} << 31), "value has ", args.positions, " positions, expected fewer than 2^31");
  STD_TORCH_CHECK(
      points.size(0) == args.images && points.size(2) == args.heads && points.size(5) == 2 &&
          weights.numel() == product(points, 0, 5),
      points_name, " and ", weights_name, " do not fit value and each other");
  check_sum_type(points_name, points, value);
  check_sum_type(weights_name, weights, value);
  STD_TORCH_CHECK(
      shapes.scalar_type() == ScalarType::Long && starts.scalar_type() == ScalarType::Long &&
          shapes.numel() == 2 * args.levels && starts.numel() == args.levels,
      "spatial_shapes and level_start_index have to be int64 of shape (L, 2) and (L,)");
  args.element = element_of("value", value);
  args.shapes = static_cast<const int64_t*>(shapes.const_data_ptr());
  args.starts = static_cast<const int64_t*>(starts.const_data_ptr());
  STD_TORCH_CHECK(
      !kOnCuda || args.levels <= kMostLevels, "spatial_shapes has ", args.levels, " levels, expected at most ",
      kMostLevels, " on a GPU");
  int64_t free = 0;
  for (int64_t level = 0; level < (kOnCuda ? 0 : args.levels); ++level) {  // a GPU is not waited for
    const int64_t height = args.shapes[2 * level], width = args.shapes[2 * level + 1], start = args.starts[level];
    STD_TORCH_CHECK(
        height >= 0 && width >= 0 && start >= 0 && (height == 0 || width <= (args.positions - start) / height),
        "level ", level, " of ", height, " x ", width, " from position ", start, " does not fit the ", args.positions,
        " positions of value");
    // The gradients of two levels are added up by two tasks, which must not touch the same pixel.
    STD_TORCH_CHECK(
        height * width == 0 || start >= free, "level ", level, " starts at position ", start,
        ", inside the level before it, which ends at ", free, "; expected levels one after the other");
    free = std::max(free, start + height * width);
  }
  args.value = value.const_data_ptr();
  check_device("spatial_shapes", shapes, value);
  check_device("level_start_index", starts, value);
  set_machine(value, args);
  return args;
}

// Whether there is anything for the kernels of CUDA to do, which do not ask themselves.
bool has_work(const AttentionArgs& args) {
  return args.images * args.positions * args.heads * args.channels * args.queries * args.levels * args.points > 0;
}

Tensor forward(const Tensor& value, AttentionArgs& args) {
  const std::vector<int64_t> sizes = {args.images, args.queries, args.heads * args.channels};
  if (kOnCuda && !has_work(args)) return torch::stable::new_zeros(value, sizes);
  Tensor output = torch::stable::new_empty(value, sizes);
  args.output = output.mutable_data_ptr();
  STN_DET_RUN(ms_deform_attn_forward, args);
  return output;
}

// Runs the backward pass; the caller has set the gradients to points and weights, which are zeros on CUDA where there
// is no work. Returns the gradient to value.
Tensor backward(Tensor grad_output, const Tensor& value, AttentionArgs& args, bool deterministic) {
  check_device("grad_output", grad_output, value);
  if (kOnCuda) {
    grad_output = torch::stable::to(grad_output, value.scalar_type());  // which it has already, but for tests
  } else {
    check_sum_type("grad_output", grad_output, value);
  }
  STD_TORCH_CHECK(
      grad_output.numel() == args.images * args.queries * args.heads * args.channels,
      "grad_output does not have the shape of the output");
  const bool written = !kOnCuda && samples_are_dense(args);  // all of it, by the kernels
  Tensor grad_value = written ? torch::stable::new_empty(value, value.sizes(), sum_type(value))
                              : torch::stable::new_zeros(value, value.sizes(), sum_type(value));
  args.grad_output = grad_output.const_data_ptr();
  args.grad_value = grad_value.mutable_data_ptr();
  args.deterministic = deterministic;
  const Tensor scratch = exact_scratch(value, grad_value.numel(), args);
  if (kOnCuda && !has_work(args)) return grad_value;
  STN_DET_RUN(ms_deform_attn_backward, args);
  return grad_value;
}

// A gradient that the kernels write, where they have work.
Tensor new_gradient(const Tensor& like, const AttentionArgs& args) {
  return kOnCuda && !has_work(args) ? torch::stable::new_zeros(like, like.sizes()) : torch::stable::empty_like(like);
}

Tensor ms_deform_attn(Tensor value, Tensor shapes, Tensor starts, Tensor locations, Tensor weights) {
  make_contiguous(value, shapes, starts, locations, weights);
  AttentionArgs args = arguments(value, shapes, starts, "sampling_locations", locations, "attention_weights", weights);
  args.locations = locations.const_data_ptr();
  args.weights = weights.const_data_ptr();
  return forward(value, args);
}

std::tuple<Tensor, Tensor, Tensor> ms_deform_attn_backward(
    Tensor grad_output, Tensor value, Tensor shapes, Tensor starts, Tensor locations, Tensor weights,
    bool deterministic) {
  make_contiguous(grad_output, value, shapes, starts, locations, weights);
  AttentionArgs args = arguments(value, shapes, starts, "sampling_locations", locations, "attention_weights", weights);
  Tensor grad_locations = new_gradient(locations, args), grad_weights = new_gradient(weights, args);
  args.locations = locations.const_data_ptr();
  args.weights = weights.const_data_ptr();
  args.grad_locations = grad_locations.mutable_data_ptr();
  args.grad_weights = grad_weights.mutable_data_ptr();
  Tensor grad_value = backward(grad_output, value, args, deterministic);
  return {grad_value, grad_locations, grad_weights};
}

// The arguments of the fused form; `frames` is its scratch memory.
AttentionArgs fused_arguments(
    const Tensor& value, const Tensor& shapes, const Tensor& starts, const Tensor& references, const Tensor& offsets,
    const Tensor& logits, Tensor& frames) {
  AttentionArgs args = arguments(value, shapes, starts, "sampling_offsets", offsets, "attention_logits", logits);
  check_sum_type("reference_points", references, value);
  STD_TORCH_CHECK(
      references.dim() == 4 && references.size(0) == args.images && references.size(1) == args.queries &&
          references.size(2) == args.levels &&
          (references.size(3) == 2 || references.size(3) == 4 || references.size(3) == 5),
      "reference_points does not have the shape (N, Q, L, 2, 4 or 5) that fits the other arguments");
  args.reference_size = references.size(3);
  args.references = references.const_data_ptr();
  args.offsets = offsets.const_data_ptr();
  args.logits = logits.const_data_ptr();
  frames = torch::stable::new_empty(references, {kOnCuda ? 0 : args.images, args.queries, args.levels, 6});
  args.frames = frames.mutable_data_ptr();
  return args;
}

Tensor ms_deform_attn_fused(
    Tensor value, Tensor shapes, Tensor starts, Tensor references, Tensor offsets, Tensor logits) {
  make_contiguous(value, shapes, starts, references, offsets, logits);
  Tensor frames;
  AttentionArgs args = fused_arguments(value, shapes, starts, references, offsets, logits, frames);
  return forward(value, args);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> ms_deform_attn_fused_backward(
    Tensor grad_output, Tensor value, Tensor shapes, Tensor starts, Tensor references, Tensor offsets, Tensor logits,
    bool to_references, bool deterministic) {
  make_contiguous(grad_output, value, shapes, starts, references, offsets, logits);
  Tensor frames;
  AttentionArgs args = fused_arguments(value, shapes, starts, references, offsets, logits, frames);
  Tensor grad_offsets = new_gradient(offsets, args), grad_logits = new_gradient(logits, args);
  Tensor grad_references = torch::stable::new_zeros(references, references.sizes());
  args.grad_locations = grad_offsets.mutable_data_ptr();
  args.grad_weights = grad_logits.mutable_data_ptr();
  args.grad_references = to_references || !kOnCuda ? grad_references.mutable_data_ptr() : nullptr;
  if (args.points == 0) {  // the frames divide by the number of points
    Tensor none = torch::stable::new_zeros(value, value.sizes(), sum_type(value));
    return {none, grad_references, grad_offsets, grad_logits};
  }
  Tensor grad_value = backward(grad_output, value, args, deterministic);
  return {grad_value, grad_references, grad_offsets, grad_logits};
}

}  // namespace
}  // namespace stn_det

STN_DET_LIBRARY(m) {
  m.impl("ms_deform_attn", TORCH_BOX(&stn_det::ms_deform_attn));
  m.impl("ms_deform_attn_backward", TORCH_BOX(&stn_det::ms_deform_attn_backward));
  m.impl("ms_deform_attn_fused", TORCH_BOX(&stn_det::ms_deform_attn_fused));
  m.impl("ms_deform_attn_fused_backward", TORCH_BOX(&stn_det::ms_deform_attn_fused_backward));
}
