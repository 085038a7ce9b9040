// RoIAlign on the CPU, average over each bin; compiled once per instruction set.
//
//   output[r, c, i, j] = 1 / (grid_y * grid_x) * sum over the points p of bin (i, j) of bilinear(input[n, c], p)
//
// The taps of all RoIs, a pixel and a weight each, are found first, in parallel over RoIs. Then each task takes a slice
// of the channels of one image, one cache line of each pixel, and walks the RoIs of that image: forward it sums the
// taps of each bin, backward it adds to the pixels of the slice. There are no atomics and the number of threads shows
// in no sum.
#include <memory>

#include "roi_pixels.h"

namespace stn_det::STN_DET_ISA {
namespace {

template <typename A>
constexpr int64_t kSlice = 64 / sizeof(A);       // channels of a task: a cache line in the summation type
constexpr int64_t kTapsHeld = int64_t{1} << 22;  // about, at a time

// The taps of all bins of one RoI; the weights include the division by the number of points.
template <typename A>
struct StoredTaps {
  std::vector<int64_t> begin;  // (ph * pw + 1,)
  std::vector<int32_t> pixel;
  std::vector<A> weight;
};

template <typename A>
void store_taps(const RoiArgs& args, const Frame<A>& frame, RoiTaps<A>& taps, StoredTaps<A>& out) {
  const A share = 1 / static_cast<A>(frame.grid_y * frame.grid_x);
  taps.start(frame);
  out.begin.assign(1, 0);
  for (int64_t row = 0; row < args.rows; ++row) {
    for (int64_t column = 0; column < args.columns; ++column) {
      taps.collect(row, column);
      for (int32_t tap = 0; tap < taps.list.count; ++tap) {
        out.pixel.push_back(taps.list.place[tap]);
        out.weight.push_back(taps.list.weight[tap] * share);
      }
      out.begin.push_back(static_cast<int64_t>(out.pixel.size()));
    }
  }
}

// One past the last RoI whose taps are held together with those of `begin`.
template <typename A>
int64_t end_of_share(const RoiArgs& args, const Frame<A>* frames, int64_t begin) {
  int64_t held = 0, roi = begin;
  for (; roi < args.rois && held < kTapsHeld; ++roi) {
    if (!frames[roi].reads()) continue;
    held += args.rows * args.columns * std::min(4 * frames[roi].grid_y * frames[roi].grid_x, args.height * args.width);
  }
  return roi;
}

// The taps of the RoIs [begin, end).
template <typename A>
std::vector<StoredTaps<A>> find_taps(const RoiArgs& args, int64_t begin, int64_t end) {
  const Frame<A>* frames = static_cast<const Frame<A>*>(args.frames);
  std::vector<StoredTaps<A>> stored(end - begin);
  share_out(args, end - begin, [&](auto next) {
    RoiTaps<A> taps(args);
    for (int64_t i = next(); i >= 0; i = next()) {
      if (frames[begin + i].reads()) store_taps(args, frames[begin + i], taps, stored[i]);
    }
  });
  return stored;
}

// Sums a slice of the channels of one RoI: (bins, kSlice) from (H, W, kSlice). Taps go to two sums by turns, because
// one chain of additions would wait for each.
template <typename T, typename A>
void gather(const StoredTaps<A>& taps, int64_t bins, const T* slice, T* tile) {
  constexpr int64_t blocks = kSlice<A> / kLanes<A>;
  for (int64_t bin = 0; bin < bins; ++bin) {
    Vec<A> total[blocks] = {}, other[blocks] = {};
    int64_t tap = taps.begin[bin];
    const int64_t end = taps.begin[bin + 1];
    for (; tap + 1 < end; tap += 2) {
      const T* pixel = slice + taps.pixel[tap] * kSlice<A>;
      const T* next = slice + taps.pixel[tap + 1] * kSlice<A>;
      for (int64_t block = 0; block < blocks; ++block) {
        total[block] += load<A>(pixel + block * kLanes<A>) * taps.weight[tap];
        other[block] += load<A>(next + block * kLanes<A>) * taps.weight[tap + 1];
      }
    }
    for (int64_t block = 0; block < blocks; ++block) total[block] += other[block];
    for (; tap < end; ++tap) {
      const T* pixel = slice + taps.pixel[tap] * kSlice<A>;
      for (int64_t block = 0; block < blocks; ++block) {
        total[block] += load<A>(pixel + block * kLanes<A>) * taps.weight[tap];
      }
    }
    for (int64_t block = 0; block < blocks; ++block) store<A>(tile + bin * kSlice<A> + block * kLanes<A>, total[block]);
  }
}

// Copies some channels of the marked pixels of an image into a slice (H, W, kSlice).
template <typename T, typename A>
void fill_slice(
    const RoiArgs& args, const std::vector<char>& marks, int64_t image, int64_t channel, int64_t count, T* slice) {
  const int64_t pixels = args.height * args.width, channels = args.channels;
  const T* input = static_cast<const T*>(args.input) + image * channels * pixels;
  for_marked(args, marks, image, [&](int64_t first, int64_t size) {
    T* to = slice + first * kSlice<A>;
    if (!args.channels_last) {
      transpose(input + channel * pixels + first, pixels, to, kSlice<A>, count, size);
      return;
    }
    const T* from = input + first * channels + channel;
    for (int64_t i = 0; i < size; ++i) {
      if (count == kSlice<A>) {
        std::memcpy(to + i * kSlice<A>, from + i * channels, kSlice<A> * sizeof(T));
      } else {
        std::copy_n(from + i * channels, count, to + i * kSlice<A>);
      }
    }
  });
}

// Some channels at a time, for all RoIs of an image: the pixels of a slice stay in the cache, those of a map do not.
template <typename T, typename A>
void forward_share(const RoiArgs& args, const std::vector<char>& marks, int64_t begin, int64_t end) {
  const Frame<A>* frames = static_cast<const Frame<A>*>(args.frames);
  const std::vector<StoredTaps<A>> stored = find_taps<A>(args, begin, end);
  const int64_t pixels = args.height * args.width, bins = args.rows * args.columns;
  const int64_t slices = (args.channels + kSlice<A> - 1) / kSlice<A>;
  share_out(args, args.images * slices, [&](auto next) {
    const auto slice = std::make_unique_for_overwrite<T[]>(pixels * kSlice<A>);
    std::vector<T> tile(bins * kSlice<A>);
    for (int64_t task = next(); task >= 0; task = next()) {
      const int64_t image = task / slices, channel = task % slices * kSlice<A>;
      const int64_t count = std::min(kSlice<A>, args.channels - channel);
      fill_slice<T, A>(args, marks, image, channel, count, slice.get());
      for (int64_t roi = begin; roi < end; ++roi) {
        if (frames[roi].image != image || !frames[roi].reads()) continue;
        gather<T, A>(stored[roi - begin], bins, slice.get(), tile.data());
        T* output = static_cast<T*>(args.output) + (roi * args.channels + channel) * bins;
        transpose(tile.data(), kSlice<A>, output, bins, bins, count);
      }
    }
  });
  for (int64_t roi = begin; roi < end; ++roi) {
    const int64_t size = args.channels * bins;
    if (!frames[roi].reads()) std::fill_n(static_cast<T*>(args.output) + roi * size, size, T{});
  }
}

template <typename T, typename A>
void forward(const RoiArgs& args) {
  const Frame<A>* frames = static_cast<const Frame<A>*>(args.frames);
  const std::vector<char> marks = mark_pixels<A>(args);
  for (int64_t begin = 0, end; begin < args.rois; begin = end) {
    end = end_of_share(args, frames, begin);
    forward_share<T, A>(args, marks, begin, end);
  }
}

// Adds what one RoI sends back to the gradient of a slice of channels (H, W, kSlice).
template <typename A>
void spread(const StoredTaps<A>& taps, int64_t bins, const A* tile, A* slice) {
  constexpr int64_t blocks = kSlice<A> / kLanes<A>;
  for (int64_t bin = 0; bin < bins; ++bin) {
    Vec<A> grad[blocks];
    for (int64_t block = 0; block < blocks; ++block) grad[block] = load<A>(tile + bin * kSlice<A> + block * kLanes<A>);
    for (int64_t tap = taps.begin[bin]; tap < taps.begin[bin + 1]; ++tap) {
      A* pixel = slice + taps.pixel[tap] * kSlice<A>;
      for (int64_t block = 0; block < blocks; ++block) {
        A* at = pixel + block * kLanes<A>;
        store<A>(at, load<A>(at) + grad[block] * taps.weight[tap]);
      }
    }
  }
}

// The RoIs [begin, end) of all images; `begin` = 0 writes the gradient, later shares add to it.
template <typename A>
void spread_share(const RoiArgs& args, int64_t begin, int64_t end) {
  const Frame<A>* frames = static_cast<const Frame<A>*>(args.frames);
  const std::vector<StoredTaps<A>> stored = find_taps<A>(args, begin, end);
  const int64_t pixels = args.height * args.width, bins = args.rows * args.columns;
  const int64_t slices = (args.channels + kSlice<A> - 1) / kSlice<A>;
  share_out(args, args.images * slices, [&](auto next) {
    std::vector<A> slice(pixels * kSlice<A>), tile(bins * kSlice<A>, A(0));
    for (int64_t task = next(); task >= 0; task = next()) {
      const int64_t image = task / slices, channel = task % slices * kSlice<A>;
      const int64_t count = std::min(kSlice<A>, args.channels - channel);
      std::fill(slice.begin(), slice.end(), A(0));
      for (int64_t roi = begin; roi < end; ++roi) {
        if (frames[roi].image != image || !frames[roi].reads()) continue;
        const A* grad = static_cast<const A*>(args.grad_output) + (roi * args.channels + channel) * bins;
        transpose(grad, bins, tile.data(), kSlice<A>, count, bins);
        spread(stored[roi - begin], bins, tile.data(), slice.data());
      }
      A* out = static_cast<A*>(args.grad_input) + (image * args.channels + channel) * pixels;
      if (begin == 0) {
        transpose(slice.data(), kSlice<A>, out, pixels, pixels, count);
        continue;
      }
      for (int64_t c = 0; c < count; ++c) {
        for (int64_t pixel = 0; pixel < pixels; ++pixel) out[c * pixels + pixel] += slice[pixel * kSlice<A> + c];
      }
    }
  });
}

template <typename A>
void backward_input(const RoiArgs& args) {
  const Frame<A>* frames = static_cast<const Frame<A>*>(args.frames);
  int64_t begin = 0;
  do {
    const int64_t end = end_of_share(args, frames, begin);
    spread_share<A>(args, begin, end);
    begin = end;
  } while (begin < args.rois);
}

}  // namespace

void roi_align_forward(const RoiArgs& args) {
  switch (args.element) {
    case Element::kFloat64: return forward<double, double>(args);
    case Element::kFloat32: return forward<float, float>(args);
    case Element::kFloat16: return forward<Float16, float>(args);
    case Element::kBFloat16: return forward<BFloat16, float>(args);
  }
}

void roi_align_backward_input(const RoiArgs& args) {
  args.element == Element::kFloat64 ? backward_input<double>(args) : backward_input<float>(args);
}

}  // namespace stn_det::STN_DET_ISA
