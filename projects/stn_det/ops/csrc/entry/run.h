// How the entry points reach the kernels. They are compiled twice: for the CPU, where the kernels exist once for each
// instruction set, and with STN_DET_CUDA for CUDA.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

#include "machine.h"

#ifndef STN_DET_CUDA

#include <cstdlib>
#include <cstring>

// The dispatch key that the operators are registered for.
#define STN_DET_KEY CPU
#define STN_DET_RUN(kernel, args) (has_avx2() ? avx2::kernel(args) : baseline::kernel(args))

namespace stn_det {

constexpr bool kOnCuda = false;

inline void torch_parallel_for_ranges(int64_t begin, int64_t end, int64_t grain, RangeBody body, void* context) {
  torch::stable::parallel_for(begin, end, grain, [&](int64_t first, int64_t last) { body(first, last, context); });
}

// STN_DET_ISA=baseline in the environment keeps the portable code, for tests and for finding faults.
inline bool has_avx2() {
  static const bool found = [] {
    const char* wanted = std::getenv("STN_DET_ISA");
    if (wanted != nullptr && std::strcmp(wanted, "baseline") == 0) return false;
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  }();
  return found;
}

inline void set_machine(const torch::stable::Tensor&, Machine& machine) {
  machine.threads = torch::stable::get_num_threads();
  machine.parallel_for = torch_parallel_for_ranges;
}

}  // namespace stn_det

#else  // STN_DET_CUDA

namespace stn_det {

constexpr bool kOnCuda = true;

}  // namespace stn_det

#ifdef STN_DET_EMULATED

// Kernels of CUDA compiled for the CPU by the tests: they work on tensors of the CPU.
#define STN_DET_KEY CPU
#define STN_DET_RUN(kernel, args) cuda::kernel(args)

namespace stn_det {

inline void set_machine(const torch::stable::Tensor&, Machine& machine) { machine.stream = nullptr; }

}  // namespace stn_det

#else

#include <torch/csrc/stable/accelerator.h>

#define STN_DET_KEY CUDA
// The device of the tensors need not be the current one.
#define STN_DET_RUN(kernel, args)                                  \
  do {                                                             \
    const torch::stable::accelerator::DeviceGuard guard(args.device); \
    cuda::kernel(args);                                            \
  } while (false)

namespace stn_det {

inline void set_machine(const torch::stable::Tensor& tensor, Machine& machine) {
  machine.device = tensor.get_device_index();
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(machine.device, &machine.stream));
}

}  // namespace stn_det

#endif  // STN_DET_EMULATED
#endif  // STN_DET_CUDA

// The macro argument is replaced before STABLE_TORCH_LIBRARY_IMPL makes a name of it.
#define STN_DET_LIBRARY(m) STN_DET_LIBRARY_FOR(STN_DET_KEY, m)
#define STN_DET_LIBRARY_FOR(key, m) STABLE_TORCH_LIBRARY_IMPL(stn_det, key, m)
