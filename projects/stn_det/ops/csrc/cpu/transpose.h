// Transposition of matrices whose rows are far apart: channels first to channels last and back.
#pragma once

#include <emmintrin.h>

#include <algorithm>
#include <cstdint>

#include "simd.h"

namespace stn_det::STN_DET_ISA {

constexpr int64_t kTile = 8;  // rows and columns that are turned at once

// One tile of 8 x 8: to[c * to_stride + r] = from[r * from_stride + c].
template <typename T>
inline void transpose_tile(const T* from, int64_t from_stride, T* to, int64_t to_stride) {
  if constexpr (sizeof(T) == 2) {
    __m128i x[8], y[8];
    for (int i = 0; i < 8; ++i) x[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i * from_stride));
    for (int i = 0; i < 4; ++i) {
      y[2 * i] = _mm_unpacklo_epi16(x[i], x[i + 4]);
      y[2 * i + 1] = _mm_unpackhi_epi16(x[i], x[i + 4]);
    }
    for (int i = 0; i < 4; ++i) {
      x[2 * i] = _mm_unpacklo_epi16(y[i], y[i + 4]);
      x[2 * i + 1] = _mm_unpackhi_epi16(y[i], y[i + 4]);
    }
    for (int i = 0; i < 4; ++i) {
      y[2 * i] = _mm_unpacklo_epi16(x[i], x[i + 4]);
      y[2 * i + 1] = _mm_unpackhi_epi16(x[i], x[i + 4]);
    }
    for (int i = 0; i < 8; ++i) _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i * to_stride), y[i]);
#ifdef __AVX2__
  } else if constexpr (sizeof(T) == 4) {
    __m256 x[8], y[8];
    for (int i = 0; i < 8; ++i) x[i] = _mm256_loadu_ps(reinterpret_cast<const float*>(from + i * from_stride));
    for (int i = 0; i < 4; ++i) {
      y[2 * i] = _mm256_unpacklo_ps(x[2 * i], x[2 * i + 1]);
      y[2 * i + 1] = _mm256_unpackhi_ps(x[2 * i], x[2 * i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
      x[i] = _mm256_shuffle_ps(y[i], y[i + 2], 0x44);
      x[i + 1] = _mm256_shuffle_ps(y[i], y[i + 2], 0xEE);
      x[i + 2] = _mm256_shuffle_ps(y[i + 1], y[i + 3], 0x44);
      x[i + 3] = _mm256_shuffle_ps(y[i + 1], y[i + 3], 0xEE);
    }
    for (int i = 0; i < 4; ++i) {
      y[i] = _mm256_permute2f128_ps(x[i], x[i + 4], 0x20);
      y[i + 4] = _mm256_permute2f128_ps(x[i], x[i + 4], 0x31);
    }
    for (int i = 0; i < 8; ++i) _mm256_storeu_ps(reinterpret_cast<float*>(to + i * to_stride), y[i]);
#endif
  } else {
    for (int64_t r = 0; r < kTile; ++r) {
      for (int64_t c = 0; c < kTile; ++c) to[c * to_stride + r] = from[r * from_stride + c];
    }
  }
}

// to[c * to_stride + r] = from[r * from_stride + c] for any number of rows and columns. The rows of `from` are taken 16
// at a time, so that whole cache lines of `to` are written at once.
template <typename T>
void transpose(const T* from, int64_t from_stride, T* to, int64_t to_stride, int64_t rows, int64_t columns) {
  int64_t row = 0;
  while (row + kTile <= rows) {
    const int64_t next = std::min(row + 2 * kTile, rows - rows % kTile);
    int64_t column = 0;
    for (; column + kTile <= columns; column += kTile) {
      for (int64_t r = row; r < next; r += kTile) {
        transpose_tile(from + r * from_stride + column, from_stride, to + column * to_stride + r, to_stride);
      }
    }
    for (; column < columns; ++column) {
      for (int64_t r = row; r < next; ++r) to[column * to_stride + r] = from[r * from_stride + column];
    }
    row = next;
  }
  for (int64_t column = 0; column < columns; ++column) {
    for (int64_t r = row; r < rows; ++r) to[column * to_stride + r] = from[r * from_stride + column];
  }
}

}  // namespace stn_det::STN_DET_ISA
