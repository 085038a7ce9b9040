// Maps (N, C, H, W) copied to pixels (N, H, W, C) and back, through tiles of shared memory: neighbouring threads read
// neighbouring elements and write neighbouring ones.
#pragma once

#include "elements.h"

namespace stn_det::cuda {

constexpr int kTurnThreads = 256, kTurnChannels = 32, kTurnPixels = 64;

struct TurnArgs {
  const void* from;
  void* to;
  int64_t images, channels, pixels;  // N, C, H * W
  int64_t row;                       // elements from a pixel to the next; those beyond C are 0
};

// Where the tile of a block lies.
struct TurnTile {
  int64_t image, pixel, channel;

  __device__ __forceinline__ explicit TurnTile(const TurnArgs& args) {
    const int64_t pixel_tiles = (args.pixels + kTurnPixels - 1) / kTurnPixels;
    const int64_t channel_tiles = (args.row + kTurnChannels - 1) / kTurnChannels;
    const int64_t block = blockIdx.x;
    channel = block % channel_tiles * kTurnChannels;
    pixel = block / channel_tiles % pixel_tiles * kTurnPixels;
    image = block / channel_tiles / pixel_tiles;
  }
};

// `Word` is an unsigned integer of the size of an element.
template <typename Word>
__global__ void __launch_bounds__(kTurnThreads) turn_to_pixels(TurnArgs args) {
  __shared__ Word tile[kTurnPixels * (kTurnChannels + 1)];
  const TurnTile at(args);
  const Word* from = static_cast<const Word*>(args.from) + at.image * args.channels * args.pixels;
  Word* to = static_cast<Word*>(args.to) + at.image * args.pixels * args.row;
  for (int k = 0; k < kTurnPixels * kTurnChannels / kTurnThreads; ++k) {
    const int i = k * kTurnThreads + threadIdx.x;
    const int64_t pixel = at.pixel + i % kTurnPixels, channel = at.channel + i / kTurnPixels;
    const bool inside = pixel < args.pixels && channel < args.channels;
    tile[i % kTurnPixels * (kTurnChannels + 1) + i / kTurnPixels] =
        inside ? from[channel * args.pixels + pixel] : Word(0);
  }
  __syncthreads();
  for (int k = 0; k < kTurnPixels * kTurnChannels / kTurnThreads; ++k) {
    const int i = k * kTurnThreads + threadIdx.x;
    const int64_t pixel = at.pixel + i / kTurnChannels, channel = at.channel + i % kTurnChannels;
    if (pixel < args.pixels && channel < args.row) {
      to[pixel * args.row + channel] = tile[i / kTurnChannels * (kTurnChannels + 1) + i % kTurnChannels];
    }
  }
}

template <typename Word>
__global__ void __launch_bounds__(kTurnThreads) turn_to_planes(TurnArgs args) {
  __shared__ Word tile[kTurnPixels * (kTurnChannels + 1)];
  const TurnTile at(args);
  const Word* from = static_cast<const Word*>(args.from) + at.image * args.pixels * args.row;
  Word* to = static_cast<Word*>(args.to) + at.image * args.channels * args.pixels;
  for (int k = 0; k < kTurnPixels * kTurnChannels / kTurnThreads; ++k) {
    const int i = k * kTurnThreads + threadIdx.x;
    const int64_t pixel = at.pixel + i / kTurnChannels, channel = at.channel + i % kTurnChannels;
    if (pixel < args.pixels && channel < args.channels) {
      tile[i / kTurnChannels * (kTurnChannels + 1) + i % kTurnChannels] = from[pixel * args.row + channel];
    }
  }
  __syncthreads();
  for (int k = 0; k < kTurnPixels * kTurnChannels / kTurnThreads; ++k) {
    const int i = k * kTurnThreads + threadIdx.x;
    const int64_t pixel = at.pixel + i % kTurnPixels, channel = at.channel + i / kTurnPixels;
    if (pixel < args.pixels && channel < args.channels) {
      to[channel * args.pixels + pixel] = tile[i % kTurnPixels * (kTurnChannels + 1) + i / kTurnPixels];
    }
  }
}

template <typename T>
using WordOf = std::conditional_t<sizeof(T) == 8, uint64_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint16_t>>;

inline unsigned turn_blocks(const TurnArgs& args) {
  const int64_t pixel_tiles = (args.pixels + kTurnPixels - 1) / kTurnPixels;
  return blocks_for(args.images * pixel_tiles * ((args.row + kTurnChannels - 1) / kTurnChannels), 1);
}

// Planes of elements T to pixels whose rows are filled up with zeros.
template <typename T>
inline void launch_turn_to_pixels(const TurnArgs& args, void* stream) {
  launch("turn_to_pixels", turn_to_pixels<WordOf<T>>, turn_blocks(args), kTurnThreads, 0, stream, args);
}

// And back.
template <typename T>
inline void launch_turn_to_planes(const TurnArgs& args, void* stream) {
  launch("turn_to_planes", turn_to_planes<WordOf<T>>, turn_blocks(args), kTurnThreads, 0, stream, args);
}

}  // namespace stn_det::cuda
