// What a GPU does with the accesses that deformable attention is made of, one JSON object a line:
//
//   sums   rows of 128 bytes (32 floats: one head's pixel) are added to a gradient in memory, as by the corners of the
//          encoder of R50, two images. scalar: red of one float a lane; v4: red of four floats a lane; bulk: the copy
//          engine adds a row from shared memory, or four of a tile. uniform: any row; hot: one of 512 rows; tiles: for
//          every 4096 corners of a block of queries a seventh as many rows, side by side, which were added up before
//          at no cost; tiles in shared memory: the same, added up there by atomics.
//   reads  a buffer is read again and again past the first-level cache: what the second level gives as long as it fits.
//   clock  clocks of a multiprocessor a second, while one works.
//
// Times are medians of kRepeats launches between events, after one that is not counted. Rates of sums count the rows
// before any were added up.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

constexpr int kRepeats = 11;
constexpr int kRow = 32;                      // floats
constexpr int kThreads = 256;
constexpr int kRowsOfValue = 2 * 22223 * 8;   // positions and heads of two images
constexpr int64_t kCorners = 22'756'352;      // 2 images x 22223 queries x 8 heads x 16 points x 4 corners
constexpr int kHotRows = 512;
constexpr int kCornersOfTile = 4096;          // 64 queries x 16 points x 4 corners of one head
constexpr int kRowsOfTile = 584;              // a seventh: offsets of Deformable DETR's start and noise of two pixels
constexpr int kStaged = 8;                    // rows of a warp that the copy engine has under way at a time

enum class Kind { kScalar, kV4, kBulk };

#define CHECK(call)                                                                          \
  do {                                                                                       \
    const cudaError_t error = (call);                                                        \
    if (error != cudaSuccess) {                                                              \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, cudaGetErrorString(error));    \
      std::exit(1);                                                                          \
    }                                                                                        \
  } while (false)

// A number that looks random, the same for the same index.
__device__ __forceinline__ uint32_t scrambled(uint32_t index) {
  index = (index ^ (index >> 16)) * 0x7feb352du;
  index = (index ^ (index >> 15)) * 0x846ca68bu;
  return index ^ (index >> 16);
}

// One of so many, without a division.
__device__ __forceinline__ int64_t chosen(int64_t index, uint32_t among) {
  return __umulhi(scrambled(static_cast<uint32_t>(index)), among);
}

// Each lane adds four floats; eight lanes make a row.
__device__ __forceinline__ void add_v4(float* address, float term) {
#if __CUDA_ARCH__ >= 900
  asm volatile("red.global.add.v4.f32 [%0], {%1, %1, %1, %1};" ::"l"(__cvta_generic_to_global(address)), "f"(term)
               : "memory");
#else
  for (int i = 0; i < 4; ++i) atomicAdd(address + i, term);
#endif
}

// The copy engine adds bytes from shared memory; a later wait says when the source may be written again.
__device__ __forceinline__ void add_bulk(float* address, const float* shared, uint32_t bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(
                   __cvta_generic_to_global(address)),
               "r"(static_cast<uint32_t>(__cvta_generic_to_shared(shared))), "r"(bytes)
               : "memory");
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#endif
}

// Until all but the last few additions of this thread have read their source.
template <int kPending>
__device__ __forceinline__ void wait_bulk() {
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
#endif
}

// Until all additions of this thread are done.
__device__ __forceinline__ void finish_bulk() {
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
#endif
}

__device__ __forceinline__ void make_visible_to_bulk() {
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// One warp adds rows one after the other: rows warp, warp + warps, ... of the list that scrambled() makes.
template <Kind kKind>
__global__ void add_rows(float* sums, int64_t rows, uint32_t among) {
  __shared__ alignas(128) float staged[kThreads / 32][kStaged][kRow];
  const int lane = threadIdx.x % 32, warp_in_block = threadIdx.x / 32;
  const int64_t warp = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / 32;
  const int64_t warps = static_cast<int64_t>(gridDim.x) * kThreads / 32;
  if constexpr (kKind == Kind::kV4) {
    // A warp has four rows at a time, eight lanes each.
    for (int64_t row = 4 * warp + lane / 8; row < rows; row += 4 * warps) {
      const int64_t target = chosen(row, among);
      add_v4(sums + target * kRow + 4 * (lane % 8), 1.0f);
    }
  } else {
    int slot = 0;
    for (int64_t row = warp; row < rows; row += warps, slot = (slot + 1) % kStaged) {
      const int64_t target = chosen(row, among);
      if constexpr (kKind == Kind::kScalar) {
        atomicAdd(sums + target * kRow + lane, 1.0f);
      } else {
        float* const source = staged[warp_in_block][slot];
        if (lane == 0) wait_bulk<kStaged - 1>();
        __syncwarp();
        source[lane] = 1.0f;
        make_visible_to_bulk();
        __syncwarp();
        if (lane == 0) add_bulk(sums + target * kRow, source, kRow * sizeof(float));
      }
    }
    if (kKind == Kind::kBulk && lane == 0) finish_bulk();
  }
}

// One block adds so many corners up in shared memory, none to measure the rest alone, then the rows of its tile.
template <Kind kKind>
__global__ void add_tiles(float* sums, uint32_t among, int corners) {
  extern __shared__ float4 memory[];
  float* const table = reinterpret_cast<float*>(memory);
  constexpr int kFloats = kRowsOfTile * kRow;
  for (int i = threadIdx.x; i < kFloats; i += kThreads) table[i] = 1.0f;
  __syncthreads();
  const int lane = threadIdx.x % 32;
  for (int corner = threadIdx.x / 32; corner < corners; corner += kThreads / 32) {
    const int64_t row = chosen(static_cast<int64_t>(blockIdx.x) * corners + corner, kRowsOfTile);
    atomicAdd(table + row * kRow + lane, 1.0f);
  }
  make_visible_to_bulk();
  __syncthreads();
  float* const target = sums + chosen(blockIdx.x, among - kRowsOfTile) * kRow;
  if constexpr (kKind == Kind::kScalar) {
    for (int i = threadIdx.x; i < kFloats; i += kThreads) atomicAdd(target + i, table[i]);
  } else if constexpr (kKind == Kind::kV4) {
    for (int i = 4 * threadIdx.x; i < kFloats; i += 4 * kThreads) add_v4(target + i, table[i]);
  } else if (threadIdx.x < kRowsOfTile / 4) {
    add_bulk(target + 4 * kRow * threadIdx.x, table + 4 * kRow * threadIdx.x, 4 * kRow * sizeof(float));
    finish_bulk();
  }
}

// All blocks read the whole buffer, beginning at different places.
__global__ void read_past_l1(const float4* buffer, int64_t count, int times, float* out) {
  const int64_t threads = static_cast<int64_t>(gridDim.x) * kThreads;
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  float sum = 0.0f;
  for (int time = 0; time < times; ++time) {
    const int64_t shift = (count / times) * time;
#pragma unroll 4
    for (int64_t i = thread; i < count; i += threads) {
      const int64_t at = i + shift < count ? i + shift : i + shift - count;
      const float4 read = __ldcg(buffer + at);
      sum += read.x + read.y + read.z + read.w;
    }
  }
  if (sum == -1.0f) out[thread] = sum;
}

__global__ void spin(long long clocks, unsigned long long* nanoseconds, long long* counted) {
  unsigned long long begun, ended;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(begun));
  const long long first = clock64();
  while (clock64() - first < clocks) {
  }
  *counted = clock64() - first;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(ended));
  *nanoseconds = ended - begun;
}

template <typename Launch>
float median_ms(const Launch& launch) {
  cudaEvent_t first, last;
  CHECK(cudaEventCreate(&first));
  CHECK(cudaEventCreate(&last));
  std::vector<float> times;
  for (int repeat = -1; repeat < kRepeats; ++repeat) {
    CHECK(cudaEventRecord(first));
    launch();
    CHECK(cudaGetLastError());
    CHECK(cudaEventRecord(last));
    CHECK(cudaEventSynchronize(last));
    float milliseconds = 0;
    CHECK(cudaEventElapsedTime(&milliseconds, first, last));
    if (repeat >= 0) times.push_back(milliseconds);
  }
  CHECK(cudaEventDestroy(first));
  CHECK(cudaEventDestroy(last));
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

void print_sums(const char* kind, const char* rows, float milliseconds, int64_t corners, int64_t written) {
  std::printf(
      "{\"test\": \"sums\", \"kind\": \"%s\", \"rows\": \"%s\", \"corners\": %lld, \"rows_written\": %lld, "
      "\"ms\": %.4f, \"corners_per_ns\": %.3f}\n",
      kind, rows, static_cast<long long>(corners), static_cast<long long>(written), milliseconds,
      corners / milliseconds * 1e-6);
}

template <Kind kKind>
void measure_sums(const char* kind, float* sums, int blocks) {
  const auto rows = [&](const char* name, uint32_t among) {
    const auto launch = [&] { add_rows<kKind><<<blocks, kThreads>>>(sums, kCorners, among); };
    print_sums(kind, name, median_ms(launch), kCorners, kCorners);
  };
  rows("uniform", kRowsOfValue);
  rows("hot", kHotRows);
  const int bytes = kRowsOfTile * kRow * sizeof(float);
  CHECK(cudaFuncSetAttribute(add_tiles<kKind>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  const int count = static_cast<int>(kCorners / kCornersOfTile);
  const auto tiles = [&](const char* name, int corners) {
    const auto launch = [&] { add_tiles<kKind><<<count, kThreads, bytes>>>(sums, kRowsOfValue, corners); };
    print_sums(kind, name, median_ms(launch), int64_t{count} * kCornersOfTile, int64_t{count} * kRowsOfTile);
  };
  tiles("tiles", 0);
  tiles("tiles in shared memory", kCornersOfTile);
}

// One row receives what is known, in every kind, or the figures mean nothing.
template <Kind kKind>
void check_sums(const char* kind, float* sums) {
  constexpr int kTerms = 4096;
  CHECK(cudaMemset(sums, 0, kRow * sizeof(float)));
  add_rows<kKind><<<4, kThreads>>>(sums, kTerms, 1);
  CHECK(cudaGetLastError());
  std::vector<float> found(kRow);
  CHECK(cudaMemcpy(found.data(), sums, kRow * sizeof(float), cudaMemcpyDeviceToHost));
  for (const float sum : found) {
    if (sum != kTerms) {
      std::fprintf(stderr, "%s: a row that %d ones were added to holds %g\n", kind, kTerms, sum);
      std::exit(1);
    }
  }
}

void measure_reads(int blocks) {
  float4* buffer = nullptr;
  float* out = nullptr;
  constexpr int64_t kMost = int64_t{1} << 30;
  CHECK(cudaMalloc(&buffer, kMost));
  CHECK(cudaMemset(buffer, 0x3c, kMost));  // no zeros, which may be quicker
  CHECK(cudaMalloc(&out, static_cast<size_t>(blocks) * kThreads * sizeof(float)));
  for (const int64_t megabytes : {4, 8, 12, 16, 20, 24, 32, 40, 48, 64, 1024}) {
    const int64_t count = megabytes * (1 << 20) / sizeof(float4);
    const int times = static_cast<int>(std::max<int64_t>(1, 1024 / megabytes));
    const float milliseconds = median_ms([&] { read_past_l1<<<blocks, kThreads>>>(buffer, count, times, out); });
    const double bytes = static_cast<double>(count) * sizeof(float4) * times;
    std::printf("{\"test\": \"reads\", \"megabytes\": %lld, \"ms\": %.4f, \"bytes_per_second\": %.4g}\n",
                static_cast<long long>(megabytes), milliseconds, bytes / milliseconds * 1e3);
  }
  CHECK(cudaFree(buffer));
  CHECK(cudaFree(out));
}

void measure_clock() {
  unsigned long long* nanoseconds = nullptr;
  long long* counted = nullptr;
  CHECK(cudaMalloc(&nanoseconds, sizeof(*nanoseconds)));
  CHECK(cudaMalloc(&counted, sizeof(*counted)));
  spin<<<1, 1>>>(100'000'000, nanoseconds, counted);
  CHECK(cudaGetLastError());
  unsigned long long time = 0;
  long long clocks = 0;
  CHECK(cudaMemcpy(&time, nanoseconds, sizeof(time), cudaMemcpyDeviceToHost));
  CHECK(cudaMemcpy(&clocks, counted, sizeof(clocks), cudaMemcpyDeviceToHost));
  std::printf("{\"test\": \"clock\", \"hertz\": %.4g}\n", clocks * 1e9 / time);
  CHECK(cudaFree(nanoseconds));
  CHECK(cudaFree(counted));
}

}  // namespace

int main() {
  cudaDeviceProp properties;
  CHECK(cudaGetDeviceProperties(&properties, 0));
  const int blocks = properties.multiProcessorCount * 8;
  std::printf("{\"test\": \"device\", \"name\": \"%s\", \"multiprocessors\": %d, \"l2_bytes\": %d}\n", properties.name,
              properties.multiProcessorCount, properties.l2CacheSize);
  float* sums = nullptr;
  CHECK(cudaMalloc(&sums, static_cast<size_t>(kRowsOfValue) * kRow * sizeof(float)));
  CHECK(cudaMemset(sums, 0, static_cast<size_t>(kRowsOfValue) * kRow * sizeof(float)));
  check_sums<Kind::kScalar>("scalar", sums);
  measure_sums<Kind::kScalar>("scalar", sums, blocks);
  if (properties.major >= 9) {
    check_sums<Kind::kV4>("v4", sums);
    measure_sums<Kind::kV4>("v4", sums, blocks);
    check_sums<Kind::kBulk>("bulk", sums);
    measure_sums<Kind::kBulk>("bulk", sums, blocks);
  }
  measure_reads(blocks);
  measure_clock();
  CHECK(cudaFree(sums));
  return 0;
}
