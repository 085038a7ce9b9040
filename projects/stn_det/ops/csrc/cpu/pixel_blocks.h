// Channels of neighbouring pixels side by side: (C, H, W) to (pixels, block) and back, for files compiled once per
// instruction set. A block is a number of vectors of channels; channels that the tensor does not have are zeros.
#pragma once

#include <cstdint>
#include <memory>

#include "simd.h"

namespace stn_det::STN_DET_ISA {

// One image as it lies in memory; the stride of the columns or that of the channels is 1.
template <typename T>
struct Planes {
  T* data;
  int64_t channel, row, column;

  T* at(int64_t c, int64_t y, int64_t x) const { return data + c * channel + y * row + x * column; }
  // The same from a channel on.
  Planes from(int64_t c) const { return {data + c * channel, channel, row, column}; }
};

// Memory that grows and is not cleared.
template <typename A>
class GrowingBuffer {
 public:
  A* of(int64_t size) {
    if (size > size_) {
      memory_.reset(new A[size]);
      size_ = size;
    }
    return memory_.get();
  }

 private:
  std::unique_ptr<A[]> memory_;
  int64_t size_ = 0;
};

// A square of kLanes vectors with rows and columns exchanged.
template <typename A>
inline void transpose(Vec<A>* x) {
#ifdef __AVX2__
  if constexpr (std::is_same_v<A, float>) {
    __m256 r[8], s[8];
    std::memcpy(r, x, sizeof(r));
    for (int i = 0; i < 4; ++i) {
      s[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
      s[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; ++i) {
      r[4 * i] = _mm256_shuffle_ps(s[4 * i], s[4 * i + 2], 0x44);
      r[4 * i + 1] = _mm256_shuffle_ps(s[4 * i], s[4 * i + 2], 0xEE);
      r[4 * i + 2] = _mm256_shuffle_ps(s[4 * i + 1], s[4 * i + 3], 0x44);
      r[4 * i + 3] = _mm256_shuffle_ps(s[4 * i + 1], s[4 * i + 3], 0xEE);
    }
    for (int i = 0; i < 4; ++i) {
      s[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
      s[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
    std::memcpy(x, s, sizeof(s));
    return;
  } else {
    __m256d r[4], s[4];
    std::memcpy(r, x, sizeof(r));
    for (int i = 0; i < 2; ++i) {
      s[2 * i] = _mm256_unpacklo_pd(r[2 * i], r[2 * i + 1]);
      s[2 * i + 1] = _mm256_unpackhi_pd(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; ++i) {
      r[i] = _mm256_permute2f128_pd(s[i], s[i + 2], 0x20);
      r[i + 2] = _mm256_permute2f128_pd(s[i], s[i + 2], 0x31);
    }
    std::memcpy(x, r, sizeof(r));
    return;
  }
#endif
  A in[kLanes<A>][kLanes<A>], out[kLanes<A>][kLanes<A>];
  std::memcpy(in, x, sizeof(in));
  for (int64_t i = 0; i < kLanes<A>; ++i) {
    for (int64_t j = 0; j < kLanes<A>; ++j) out[j][i] = in[i][j];
  }
  std::memcpy(x, out, sizeof(out));
}

// Channels of `count` pixels of a row from (y, x) on, of which `channels` exist, to (count, block).
template <typename T, typename A>
__attribute__((noinline)) void pack_row(
    const Planes<const T>& from, int64_t y, int64_t x, int64_t count, int64_t channels, int64_t block, A* to) {
  constexpr int64_t kWide = kLanes<A>;
  for (int64_t first = 0; first < block; first += kWide) {
    const int64_t present = channels - first < 0 ? 0 : channels - first < kWide ? channels - first : kWide;
    const T* source = from.at(first, y, x);
    A* target = to + first;
    int64_t pixel = 0;
    if (from.column == 1 || present == 0) {
      for (; pixel + kWide <= count; pixel += kWide) {
        Vec<A> square[kWide];
        if (present == kWide) {  // apart, so that the square stays in registers
          for (int64_t c = 0; c < kWide; ++c) {
            square[c] = load<A>(source + c * from.channel + pixel);
            __builtin_prefetch(source + c * from.channel + pixel + from.row);
          }
        } else {
          for (int64_t c = 0; c < kWide; ++c) {
            square[c] = c < present ? load<A>(source + c * from.channel + pixel) : Vec<A>{};
          }
        }
        transpose<A>(square);
        for (int64_t i = 0; i < kWide; ++i) store<A>(target + (pixel + i) * block, square[i]);
      }
    } else if (present == kWide) {
      for (; pixel < count; ++pixel) store<A>(target + pixel * block, load<A>(source + pixel * from.column));
    }
    for (; pixel < count; ++pixel) {
      for (int64_t c = 0; c < kWide; ++c) {
        target[pixel * block + c] = c < present ? widen<A>(source[pixel * from.column + c * from.channel]) : A(0);
      }
    }
  }
}

// The opposite: (count, block) to the channels that exist.
template <typename T, typename A>
__attribute__((noinline)) void unpack_row(
    const A* from, int64_t block, const Planes<T>& to, int64_t y, int64_t x, int64_t count, int64_t channels) {
  constexpr int64_t kWide = kLanes<A>;
  for (int64_t first = 0; first < block && first < channels; first += kWide) {
    const int64_t present = channels - first < kWide ? channels - first : kWide;
    const A* source = from + first;
    T* target = to.at(first, y, x);
    int64_t pixel = 0;
    if (to.column == 1) {
      for (; pixel + kWide <= count; pixel += kWide) {
        Vec<A> square[kWide];
        for (int64_t i = 0; i < kWide; ++i) square[i] = load<A>(source + (pixel + i) * block);
        transpose<A>(square);
        if (present == kWide) {
          for (int64_t c = 0; c < kWide; ++c) store<A>(target + c * to.channel + pixel, square[c]);
        } else {
          for (int64_t c = 0; c < present; ++c) store<A>(target + c * to.channel + pixel, square[c]);
        }
      }
    } else if (present == kWide) {
      for (; pixel < count; ++pixel) store<A>(target + pixel * to.column, load<A>(source + pixel * block));
    }
    for (; pixel < count; ++pixel) {
      for (int64_t c = 0; c < present; ++c) {
        target[pixel * to.column + c * to.channel] = narrow<T>(source[pixel * block + c]);
      }
    }
  }
}

}  // namespace stn_det::STN_DET_ISA
