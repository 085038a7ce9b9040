// Entry point of the sigmoid focal loss. Shapes and dtypes are checked in Python; what could reach memory
// outside the tensors is checked here again.
#include "sigmoid_focal_loss.h"

#include <optional>
#include <tuple>

#include "run.h"
#include "tensors.h"

namespace stn_det {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Loss (M, C), or their sum () if `total`, and the derivative of each term (M, C), empty unless `with_slope`.
std::tuple<Tensor, Tensor> sigmoid_focal_loss(
    Tensor input, Tensor target, std::optional<Tensor> weight, double gamma, double alpha, bool total,
    bool with_slope) {
  STD_TORCH_CHECK(input.dim() == 2, "input has ", input.dim(), " dimensions, expected 2 (M, C)");
  check_device("target", target, input);
  STD_TORCH_CHECK(
      target.scalar_type() == ScalarType::Long && target.numel() == input.size(0), "target has ", target.numel(),
      " elements, expected int64 of shape (", input.size(0), ",)");
  make_contiguous(input, target);
  FocalArgs args{};
  args.rows = input.size(0);
  args.classes = input.size(1);
  args.gamma = gamma;
  args.alpha = alpha;
  args.element = element_of("input", input);
  args.input = input.const_data_ptr();
  args.target = static_cast<const int64_t*>(target.const_data_ptr());
  if (weight.has_value()) {
    check_sum_type("weight", *weight, input);
    STD_TORCH_CHECK(
        weight->numel() == args.classes, "weight has ", weight->numel(), " elements, expected one a class: ",
        args.classes);
    weight = torch::stable::contiguous(*weight);
    args.weight = weight->const_data_ptr();
  }
  const ScalarType dtype = sum_type(input);
  Tensor slope = torch::stable::new_empty(input, {with_slope ? args.rows : 0, args.classes}, dtype);
  if (with_slope) args.slope = slope.mutable_data_ptr();
  const int64_t chunks = total ? (args.rows * args.classes + kFocalChunk - 1) / kFocalChunk : 0;
  Tensor sums = torch::stable::new_empty(input, {chunks}, ScalarType::Double);
  Tensor loss;
  if (total) {
    loss = torch::stable::new_zeros(input, {}, dtype);
    args.partial_sums = static_cast<double*>(sums.mutable_data_ptr());
    args.total = loss.mutable_data_ptr();
  } else {
    loss = torch::stable::new_empty(input, input.sizes(), dtype);
    args.loss = loss.mutable_data_ptr();
  }
  set_machine(input, args);
  STN_DET_RUN(sigmoid_focal_loss, args);
  if (total && !kOnCuda) {
    double sum = 0;  // in order, so that the number of threads does not show
    for (int64_t i = 0; i < chunks; ++i) sum += args.partial_sums[i];
    if (dtype == ScalarType::Double) {
      *static_cast<double*>(args.total) = sum;
    } else {
      *static_cast<float*>(args.total) = static_cast<float>(sum);
    }
  }
  return {loss, slope};
}

}  // namespace
}  // namespace stn_det

STN_DET_LIBRARY(m) {
  m.impl("sigmoid_focal_loss", TORCH_BOX(&stn_det::sigmoid_focal_loss));
}
