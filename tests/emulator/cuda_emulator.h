// Enough of CUDA to run its kernels on a CPU, so that tests without a GPU execute the very lines that a GPU runs.
//
// Blocks run one after the other. A thread of a block is a fiber with a stack of its own that runs until it waits for
// others: at __syncthreads, or at a warp operation until all lanes of the mask have come. So barriers that not all
// threads reach, shuffles from lanes that have left and masks that name them end the process with a message.
// STN_DET_EMULATOR_ORDER chooses the order in which threads run: "up" (default), "down" or "shuffled", which changes
// from barrier to barrier. A kernel that lacks a barrier gives other results in other orders. With a sanitizer an
// access outside of tensors and of the shared memory that a kernel asked for ends the process too.
//
// What is not here does not compile: textures, asynchronous copies, clusters, cooperative groups, tensor cores.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) static_cast<void>(at)
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) static_cast<void>(at)
#endif

#define STN_DET_EMULATOR  // for the few lines that ask whether they are compiled for a GPU

using std::max;
using std::min;

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(...)
#define __shared__ static
#define __constant__ static const
#define __align__(bytes) alignas(bytes)

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) double2 { double x, y; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

namespace emulator {

constexpr unsigned kWarp = 32;
constexpr size_t kStack = 256 << 10, kSharedBytes = 48 << 10;

enum class Wait { kNothing, kBlock, kWarp, kDone };

struct Fiber {
  void* stack_pointer = nullptr;
  dim3 thread;
  Wait wait = Wait::kDone;
  unsigned mask = 0;  // lanes that a warp operation waits for
};

struct Machine {
  dim3 block, grid, block_size;
  std::vector<Fiber> fibers;
  std::vector<std::vector<unsigned char>> stacks;
  unsigned current = 0, count = 0;
  void* scheduler = nullptr;
  void (*body)(void*) = nullptr;
  void* context = nullptr;
  const char* kernel = "";
  uint64_t slots[1024];  // what a lane shows the others of its warp
  int votes = 0;         // of __syncthreads_count and its kin: gathered, then read
  int voted = 0;
  uint32_t random = 1;
  std::mutex busy;
  alignas(128) unsigned char shared[kSharedBytes];
};

inline Machine machine;

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(
      stderr, "emulated kernel %s, block (%u, %u, %u), thread (%u, %u, %u): %s\n", machine.kernel, machine.block.x,
      machine.block.y, machine.block.z, machine.fibers[machine.current].thread.x,
      machine.fibers[machine.current].thread.y, machine.fibers[machine.current].thread.z, what);
  std::abort();
}

// Saves the registers that a call keeps, changes the stack and goes on there.
extern "C" void stn_det_emulator_switch(void** from, void* to);
asm(R"(
.pushsection .text
.weak stn_det_emulator_switch
.type stn_det_emulator_switch, @function
stn_det_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size stn_det_emulator_switch, . - stn_det_emulator_switch
.popsection
)");

inline void wait(Wait what) {
  Fiber& fiber = machine.fibers[machine.current];
  fiber.wait = what;
  stn_det_emulator_switch(&fiber.stack_pointer, machine.scheduler);
}

inline void enter() {
  machine.body(machine.context);
  wait(Wait::kDone);
  fail("a thread that had ended ran again");
}

inline void start(unsigned index) {
  Fiber& fiber = machine.fibers[index];
  fiber.wait = Wait::kNothing;
  uintptr_t top = reinterpret_cast<uintptr_t>(machine.stacks[index].data() + kStack) & ~uintptr_t{63};
  void** stack = reinterpret_cast<void**>(top) - 2;
  *stack = reinterpret_cast<void*>(&enter);  // where the first switch returns to; the stack is as after a call
  for (int i = 0; i < 6; ++i) *--stack = nullptr;
  fiber.stack_pointer = stack;
}

inline void resume(unsigned index) {
  machine.current = index;
  stn_det_emulator_switch(&machine.scheduler, machine.fibers[index].stack_pointer);
}

// Frees the threads whose wait is over; whether there was one.
inline bool release() {
  bool any = false, all_at_block = true;
  for (unsigned i = 0; i < machine.count; ++i) {
    const Wait wait = machine.fibers[i].wait;
    all_at_block = all_at_block && (wait == Wait::kBlock || wait == Wait::kDone);
  }
  if (all_at_block) {
    machine.voted = machine.votes;
    machine.votes = 0;
    for (unsigned i = 0; i < machine.count; ++i) {
      if (machine.fibers[i].wait == Wait::kBlock) machine.fibers[i].wait = Wait::kNothing, any = true;
    }
    return any;
  }
  for (unsigned warp = 0; warp < machine.count; warp += kWarp) {
    for (unsigned lane = 0; lane < kWarp && warp + lane < machine.count; ++lane) {
      if (machine.fibers[warp + lane].wait != Wait::kWarp) continue;
      const unsigned mask = machine.fibers[warp + lane].mask;
      bool complete = true;
      for (unsigned other = 0; other < kWarp; ++other) {
        if (!(mask >> other & 1)) continue;
        // Lanes beyond the block are no error: full masks are usual in blocks of any size.
        if (warp + other >= machine.count) continue;
        const Fiber& fiber = machine.fibers[warp + other];
        if (fiber.wait == Wait::kDone) {
          machine.current = warp + lane;
          fail("waits for a lane that has left the kernel");
        }
        complete = complete && fiber.wait == Wait::kWarp && fiber.mask == mask;
      }
      if (!complete) continue;
      for (unsigned other = 0; other < kWarp && warp + other < machine.count; ++other) {
        if (mask >> other & 1) machine.fibers[warp + other].wait = Wait::kNothing;
      }
      any = true;
    }
  }
  return any;
}

inline void run_block(const std::string& order, size_t shared) {
  std::vector<unsigned> turns(machine.count);
  std::iota(turns.begin(), turns.end(), 0u);
  if (order == "down") std::reverse(turns.begin(), turns.end());
  // What the last block left in shared memory is not there on a GPU either.
  std::memset(machine.shared, 0xff, shared);
  for (unsigned i = 0; i < machine.count; ++i) start(i);
  for (;;) {
    if (order == "shuffled") {
      for (unsigned i = machine.count; i > 1; --i) {
        machine.random = machine.random * 1664525u + 1013904223u;
        std::swap(turns[i - 1], turns[(machine.random >> 8) % i]);
      }
    }
    bool ran = false;
    for (const unsigned index : turns) {
      if (machine.fibers[index].wait == Wait::kNothing) resume(index), ran = true;
    }
    if (std::all_of(machine.fibers.begin(), machine.fibers.begin() + machine.count, [](const Fiber& fiber) {
          return fiber.wait == Wait::kDone;
        })) {
      return;
    }
    if (!release() && !ran) fail("all threads wait, and for different things");
  }
}

inline void run(const char* name, dim3 grid, dim3 size, size_t shared, void (*body)(void*), void* context) {
  const std::lock_guard<std::mutex> lock(machine.busy);
  machine.kernel = name;
  machine.grid = grid;
  machine.block_size = size;
  machine.count = size.x * size.y * size.z;
  machine.body = body;
  machine.context = context;
  machine.random = 1;  // so that a kernel always meets the same order
  if (machine.count == 0 || machine.count > 1024 || size.z > 64 || grid.x == 0 || grid.y == 0 || grid.z == 0 ||
      grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535 || shared > kSharedBytes) {
    throw std::runtime_error(
        std::string("emulated kernel ") + name + " does not start: grid " + std::to_string(grid.x) + " x " +
        std::to_string(grid.y) + " x " + std::to_string(grid.z) + ", block " + std::to_string(machine.count) +
        ", shared memory " + std::to_string(shared) + " bytes");
  }
  while (machine.stacks.size() < machine.count) machine.stacks.emplace_back(kStack);
  machine.fibers.resize(std::max<size_t>(machine.fibers.size(), machine.count));
  for (unsigned i = 0; i < machine.count; ++i) {
    machine.fibers[i].thread = dim3(i % size.x, i / size.x % size.y, i / size.x / size.y);
  }
  const char* wanted = std::getenv("STN_DET_EMULATOR_ORDER");
  const std::string order = wanted == nullptr ? "up" : wanted;
  // What the kernel did not ask for; nothing without the sanitizer.
  ASAN_POISON_MEMORY_REGION(machine.shared + shared, kSharedBytes - shared);
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        machine.block = dim3(x, y, z);
        run_block(order, shared);
      }
    }
  }
  ASAN_UNPOISON_MEMORY_REGION(machine.shared, kSharedBytes);
}

inline unsigned lane() { return machine.current % kWarp; }

inline void meet_warp(unsigned mask) {
  Fiber& fiber = machine.fibers[machine.current];
  if (!(mask >> lane() & 1)) fail("calls a warp operation whose mask leaves it out");
  fiber.mask = mask;
  wait(Wait::kWarp);
}

// Shows `value` to the lanes of the mask and reads what lane `source` shows.
template <typename T>
inline T exchange(unsigned mask, T value, unsigned source) {
  static_assert(sizeof(T) <= 8);
  uint64_t* slots = machine.slots + machine.current / kWarp * kWarp;
  std::memcpy(&slots[lane()], &value, sizeof(T));
  meet_warp(mask);
  if (!(mask >> source & 1)) fail("shuffles from a lane that the mask leaves out");
  T out;
  std::memcpy(&out, &slots[source], sizeof(T));
  meet_warp(mask);
  return out;
}

inline unsigned ballot(unsigned mask, bool vote) {
  uint64_t* slots = machine.slots + machine.current / kWarp * kWarp;
  slots[lane()] = vote;
  meet_warp(mask);
  unsigned out = 0;
  const unsigned first = machine.current / kWarp * kWarp;
  for (unsigned i = 0; i < kWarp && first + i < machine.count; ++i) {
    if (mask >> i & 1) out |= static_cast<unsigned>(slots[i] != 0) << i;
  }
  meet_warp(mask);
  return out;
}

}  // namespace emulator

#define threadIdx (emulator::machine.fibers[emulator::machine.current].thread)
#define blockIdx (emulator::machine.block)
#define blockDim (emulator::machine.block_size)
#define gridDim (emulator::machine.grid)
constexpr int warpSize = 32;

inline void __syncthreads() { emulator::wait(emulator::Wait::kBlock); }
inline int __syncthreads_count(int vote) {
  emulator::machine.votes += vote != 0;
  __syncthreads();
  const int out = emulator::machine.voted;
  __syncthreads();
  return out;
}
inline int __syncthreads_or(int vote) { return __syncthreads_count(vote) > 0; }
inline int __syncthreads_and(int vote) { return __syncthreads_count(!vote) == 0; }
inline void __syncwarp(unsigned mask = 0xffffffffu) { emulator::meet_warp(mask); }
inline void __threadfence() {}
inline void __threadfence_block() {}

template <typename T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  const unsigned lane = emulator::lane();
  return emulator::exchange(mask, value, (lane & ~(width - 1u)) + (source & (width - 1u)));
}
template <typename T>
inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  const unsigned lane = emulator::lane(), source = lane ^ bits;
  return emulator::exchange(mask, value, source / width <= lane / width ? source : lane);
}
template <typename T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const unsigned lane = emulator::lane(), source = lane + delta;
  return emulator::exchange(mask, value, source / width == lane / width ? source : lane);
}
template <typename T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const unsigned lane = emulator::lane();
  return emulator::exchange(mask, value, lane % width >= delta ? lane - delta : lane);
}
inline unsigned __ballot_sync(unsigned mask, int vote) { return emulator::ballot(mask, vote != 0); }
inline int __any_sync(unsigned mask, int vote) { return emulator::ballot(mask, vote != 0) != 0; }
inline int __all_sync(unsigned mask, int vote) { return emulator::ballot(mask, vote == 0) == 0; }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }

// A product that the compiler does not join with a sum that follows.
inline float __fmul_rn(float a, float b) {
  float product = a * b;
  asm("" : "+x"(product));
  return product;
}
inline double __dmul_rn(double a, double b) {
  double product = a * b;
  asm("" : "+x"(product));
  return product;
}

template <typename T>
inline T __ldg(const T* at) {
  return *at;
}

// Threads change only where they wait, so that plain code is atomic.
template <typename T>
inline T atomicAdd(T* at, T value) {
  const T old = *at;
  *at = old + value;
  return old;
}
template <typename T>
inline T atomicMax(T* at, T value) {
  const T old = *at;
  *at = old < value ? value : old;
  return old;
}
template <typename T>
inline T atomicMin(T* at, T value) {
  const T old = *at;
  *at = value < old ? value : old;
  return old;
}
template <typename T>
inline T atomicOr(T* at, T value) {
  const T old = *at;
  *at = old | value;
  return old;
}
template <typename T>
inline T atomicExch(T* at, T value) {
  const T old = *at;
  *at = value;
  return old;
}
template <typename T>
inline T atomicCAS(T* at, T expected, T value) {
  const T old = *at;
  if (old == expected) *at = value;
  return old;
}
