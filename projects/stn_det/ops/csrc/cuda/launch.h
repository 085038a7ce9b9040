// Starting kernels, and what differs between nvcc and the CPU on which the tests emulate a GPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

#ifdef __CUDACC__

#include <cuda_runtime.h>

#define STN_DET_DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]

namespace stn_det::cuda {

// Raises where the kernel that was started last did not start. Apart from launch, of which there is one a kernel.
inline void check_start(const char* name, dim3 grid, dim3 block, size_t shared) {
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) {
    throw std::runtime_error(
        std::string("CUDA kernel ") + name + " did not start: " + cudaGetErrorString(error) + " (grid " +
        std::to_string(grid.x) + " x " + std::to_string(grid.y) + " x " + std::to_string(grid.z) + ", block " +
        std::to_string(block.x * block.y * block.z) + ", shared memory " + std::to_string(shared) + " bytes)");
  }
}

// Starts a kernel on a stream of the current device. `name` is what an error names.
template <typename... Parameters, typename... Arguments>
inline void launch(
    const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, void* stream,
    Arguments&&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  kernel<<<grid, block, shared, static_cast<cudaStream_t>(stream)>>>(std::forward<Arguments>(arguments)...);
  check_start(name, grid, block, shared);
}

}  // namespace stn_det::cuda

#else

#include "cuda_emulator.h"

#define STN_DET_DYNAMIC_SHARED(name) unsigned char* const name = emulator::machine.shared

namespace stn_det::cuda {

template <typename... Parameters, typename... Arguments>
inline void launch(
    const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, void*,
    Arguments&&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  const auto body = [&] { kernel(arguments...); };
  emulator::run(
      name, grid, block, shared, [](void* context) { (*static_cast<decltype(body)*>(context))(); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

}  // namespace stn_det::cuda

#endif

namespace stn_det::cuda {

constexpr int64_t kMostBlocks = 2147483647;  // of grid.x

// Blocks of `size` that cover `count`; raises where a grid cannot hold them.
inline unsigned blocks_for(int64_t count, int64_t size) {
  const int64_t blocks = (count + size - 1) / size;
  if (blocks > kMostBlocks) {
    throw std::runtime_error(
        std::to_string(count) + " pieces of work are more than a grid of " + std::to_string(kMostBlocks) +
        " blocks can do; split the batch");
  }
  return static_cast<unsigned>(blocks);
}

}  // namespace stn_det::cuda
