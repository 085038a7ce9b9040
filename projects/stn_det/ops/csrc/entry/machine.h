// What every kernel is told about the machine that it runs on, for files that include no header of torch.
#pragma once

#include <cstdint>

#include "element.h"
#include "parallel.h"

namespace stn_det {

struct Machine {
  // CPU:
  int64_t threads;           // of the pool behind parallel_for
  ParallelFor parallel_for;  // torch's thread pool
  // CUDA:
  int32_t device;
  void* stream;              // a cudaStream_t: torch's current one
  bool deterministic;        // sums of the gradients do not depend on the order of the threads
  void* scratch;             // temporary memory; for these sums see exact_scratch in tensors.h
};

}  // namespace stn_det
