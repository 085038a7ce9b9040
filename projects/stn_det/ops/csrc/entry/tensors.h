// What every entry point asks of its tensors.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include "run.h"

namespace stn_det {

inline Element element_of(const char* name, const torch::stable::Tensor& tensor) {
  using torch::headeronly::ScalarType;
  switch (tensor.scalar_type()) {
    case ScalarType::Double: return Element::kFloat64;
    case ScalarType::Float: return Element::kFloat32;
    case ScalarType::Half: return Element::kFloat16;
    case ScalarType::BFloat16: return Element::kBFloat16;
    default: STD_TORCH_CHECK(false, name, " has a dtype that is not known here; expected float64, 32, 16 or bfloat16");
  }
}

// Raises unless both tensors are on one device.
inline void check_device(const char* name, const torch::stable::Tensor& tensor, const torch::stable::Tensor& first) {
  STD_TORCH_CHECK(
      tensor.is_cuda() == first.is_cuda() && tensor.get_device_index() == first.get_device_index(), name,
      " is on another device than the first tensor, expected all on one");
}

// Copies those that are not contiguous.
template <typename... Tensors>
inline void make_contiguous(Tensors&... tensors) {
  ((tensors = torch::stable::contiguous(tensors)), ...);
}

// The dtype that sums over elements of the tensor are kept in: float64 for float64, float32 for all others.
inline torch::headeronly::ScalarType sum_type(const torch::stable::Tensor& tensor) {
  using torch::headeronly::ScalarType;
  return tensor.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// Raises unless `tensor` has the summation type of `value`.
inline void check_sum_type(const char* name, const torch::stable::Tensor& tensor, const torch::stable::Tensor& value) {
  check_device(name, tensor, value);
  STD_TORCH_CHECK(
      tensor.scalar_type() == sum_type(value), name, " has to be float64 for float64 features and float32 otherwise");
}

// For operators that Python hands float64 or float32 only.
inline Element wide_element(const char* name, const torch::stable::Tensor& tensor) {
  const Element element = element_of(name, tensor);
  STD_TORCH_CHECK(
      element == Element::kFloat64 || element == Element::kFloat32, name, " has to be float64 or float32 here");
  return element;
}

// Raises unless the tensor is of shape (count, size).
inline void check_rows(const char* name, const torch::stable::Tensor& tensor, int64_t size) {
  STD_TORCH_CHECK(
      tensor.dim() == 2 && tensor.size(1) == size, name, " has to be of shape (count, ", size, "), and has ",
      tensor.dim(), " dimensions and ", tensor.numel(), " elements");
}

// Room for the sums of `count` numbers of a deterministic gradient on a GPU; nothing where none is needed.
inline torch::stable::Tensor exact_scratch(const torch::stable::Tensor& like, int64_t count, Machine& machine) {
  const int64_t numbers = kOnCuda && machine.deterministic ? 4 + count : 0;
  torch::stable::Tensor scratch =
      torch::stable::new_zeros(like, {numbers}, torch::headeronly::ScalarType::Long);
  machine.scratch = scratch.mutable_data_ptr();
  return scratch;
}

inline void check_same_type(const torch::stable::Tensor& tensor, const torch::stable::Tensor& first) {
  check_device("an argument", tensor, first);
  STD_TORCH_CHECK(
      tensor.scalar_type() == first.scalar_type(), "all arguments have to be of the dtype of the first shapes");
}

}  // namespace stn_det
