// What the entry points hand to the kernels: torch's thread pool, and the instruction set to use.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <cstdlib>
#include <cstring>

#include "parallel.h"

namespace stn_det {

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

}  // namespace stn_det
