// Entry points of RoIAlign, axis-aligned and rotated. Shapes and dtypes are checked in Python; what could
// reach memory outside the tensors is checked here again.
#include <limits>
#include <tuple>

#include "../cpu/huge_pages.h"
#include "../cpu/roi_frames.h"
#include "run.h"
#include "tensors.h"

namespace stn_det {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// What the frames of the RoIs lie in: on the CPU either vector, made here; on CUDA room for kernels to make them in.
struct Frames {
  std::vector<Frame<double>> wide;
  std::vector<Frame<float>> narrow;
  Tensor room;
};

template <typename A>
void* host_frames(const Tensor& rois, const RoiArgs& args, std::vector<Frame<A>>& frames) {
  frames = find_frames(static_cast<const A*>(rois.const_data_ptr()), args.rois, args.images, args);
  return frames.data();
}

// Puts the RoIs into `args`, which has all sizes; the frames and `rois` have to live on.
Frames set_rois(const Tensor& rois, RoiArgs& args) {
  const bool wide = rois.scalar_type() == ScalarType::Double;
  STD_TORCH_CHECK(wide || rois.scalar_type() == ScalarType::Float, "rois has to be float64 or float32");
  args.regions = rois.const_data_ptr();
  Frames frames;
  if constexpr (kOnCuda) {
    const int64_t bytes = args.rois * static_cast<int64_t>(wide ? sizeof(Frame<double>) : sizeof(Frame<float>));
    frames.room = torch::stable::new_empty(rois, {bytes}, ScalarType::Byte);
    args.frames = frames.room.mutable_data_ptr();
  } else {
    args.frames = wide ? host_frames(rois, args, frames.wide) : host_frames(rois, args, frames.narrow);
  }
  return frames;
}

RoiArgs arguments(
    int64_t images, int64_t channels, int64_t height, int64_t width, const Tensor& rois, const RoiOptions& options) {
  const int64_t size = options.rotated ? 6 : 5;
  STD_TORCH_CHECK(
      rois.dim() == 2 && rois.size(1) == size, "rois has ", rois.dim(), " dimensions and ", rois.numel(),
      " elements, expected shape (R, ", size, ")");
  STD_TORCH_CHECK(
      options.rows > 0 && options.columns > 0, "output_size is (", options.rows, ", ", options.columns,
      "), expected positive sizes");
  STD_TORCH_CHECK(
      options.rows <= std::numeric_limits<int32_t>::max() / options.columns, "output_size is (", options.rows, ", ",
      options.columns, "), expected less than 2^31 bins");
  STD_TORCH_CHECK(
      options.sampling_ratio >= 0 && options.sampling_ratio <= kMaxGrid, "sampling_ratio is ", options.sampling_ratio,
      ", expected 0 to ", kMaxGrid);
  // Pixels are counted in 32 bits, and a row or column has to be exact in float32.
  constexpr int64_t kMaxSide = int64_t{1} << 24, kMaxPixels = std::numeric_limits<int32_t>::max() - 1;
  STD_TORCH_CHECK(
      images >= 0 && channels >= 0 && height >= 0 && width >= 0 && height <= kMaxSide && width <= kMaxSide &&
          height * width <= kMaxPixels,
      "input has ", images, " images of ", channels, " x ", height, " x ", width,
      ", expected maps of less than 2^31 pixels and sides of at most 2^24");
  STD_TORCH_CHECK(
      rois.size(0) == 0 || (images > 0 && height > 0 && width > 0), "input has no pixels to read for ", rois.size(0),
      " rois");
  RoiArgs args{};
  static_cast<RoiOptions&>(args) = options;
  args.images = images;
  args.channels = channels;
  args.height = height;
  args.width = width;
  args.rois = rois.size(0);
  set_machine(rois, args);
  return args;
}

int64_t bytes_of(const Tensor& tensor) { return tensor.numel() * tensor.element_size(); }

// Whether the elements lie as those of a contiguous (N, H, W, C) do. Strides of single elements mean nothing.
bool is_channels_last(const Tensor& input) {
  const int64_t order[4] = {1, 3, 2, 0};
  int64_t stride = 1;
  for (const int64_t axis : order) {
    if (input.size(axis) != 1 && input.stride(axis) != stride) return false;
    stride *= input.size(axis);
  }
  return true;
}

// A pixel of `pixels`: on CUDA filled up, so that all channels are read in packs of 16 bytes.
int64_t channels_of_pixel(int64_t channels, int64_t element_size) {
  const int64_t pack = kOnCuda ? 16 / element_size : 1;
  return (channels + pack - 1) / pack * pack;
}

// Whether kernels of CUDA do better to work with the channels last, where a tap moves 16 bytes of neighbouring
// channels, though it costs to turn the whole map. From planes a tap moves 32 bytes for a single number, so each tap
// weighs as much as a few pixels. Adaptive grids are taken to have two points a bin and axis.
bool pays_to_turn(const RoiArgs& args) {
  const double points = args.sampling_ratio > 0 ? static_cast<double>(args.sampling_ratio * args.sampling_ratio) : 4;
  const double bins = static_cast<double>(args.rows) * static_cast<double>(args.columns);
  const double pixels = static_cast<double>(args.images) * static_cast<double>(args.height * args.width);
  return 6 * points * bins * static_cast<double>(args.rois) >= pixels;
}

// Puts the features into `args`, with room for a `whole` copy where the kernel turns all channels at once; `input` and
// `scratch` have to live on.
void set_input(Tensor& input, Tensor& scratch, bool whole, RoiArgs& args) {
  args.element = element_of("input", input);
  args.channels_last = is_channels_last(input);
  if (!args.channels_last) {
    make_contiguous(input);
    if (kOnCuda ? pays_to_turn(args) : whole) {
      const int64_t channels = channels_of_pixel(args.channels, input.element_size());
      scratch = torch::stable::new_empty(input, {args.images, args.height, args.width, channels});
      args.pixels = scratch.mutable_data_ptr();
      if (!kOnCuda) prefer_huge_pages(args.pixels, bytes_of(scratch));
    }
  }
  args.input = input.const_data_ptr();
}

struct Pooled {
  Tensor output, argmax;
};

Pooled forward(Tensor input, Tensor rois, const RoiOptions& options, bool maximum) {
  STD_TORCH_CHECK(input.dim() == 4, "input has ", input.dim(), " dimensions, expected 4 (N, C, H, W)");
  check_sum_type("rois", rois, input);
  make_contiguous(rois);
  RoiArgs args = arguments(input.size(0), input.size(1), input.size(2), input.size(3), rois, options);
  const Frames frames = set_rois(rois, args);
  Tensor scratch;
  set_input(input, scratch, maximum, args);
  Pooled pooled;
  pooled.output = torch::stable::new_empty(input, {args.rois, args.channels, args.rows, args.columns});
  args.output = pooled.output.mutable_data_ptr();
  if (maximum) {
    pooled.argmax = torch::stable::new_empty(input, pooled.output.sizes(), ScalarType::Int);
    args.argmax = static_cast<int32_t*>(pooled.argmax.mutable_data_ptr());
    STN_DET_RUN(roi_align_max_forward, args);
  } else {
    STN_DET_RUN(roi_align_forward, args);
  }
  return pooled;
}

// The gradient of an input (images, C, height, width); with `argmax`, that of the maximum.
Tensor backward_input(
    Tensor grad_output, const Tensor* argmax, Tensor rois, int64_t images, int64_t height, int64_t width,
    const RoiOptions& options, bool deterministic) {
  STD_TORCH_CHECK(
      grad_output.dim() == 4 && rois.dim() == 2 && grad_output.size(0) == rois.size(0) &&
          grad_output.size(2) == options.rows && grad_output.size(3) == options.columns,
      "grad_output does not have the shape (R, C, ", options.rows, ", ", options.columns, ") of the output");
  check_device("grad_output", grad_output, rois);
  STD_TORCH_CHECK(
      grad_output.scalar_type() == rois.scalar_type(), "grad_output and rois have different dtypes, expected the same");
  make_contiguous(grad_output, rois);
  RoiArgs args = arguments(images, grad_output.size(1), height, width, rois, options);
  const Frames frames = set_rois(rois, args);
  args.element = element_of("grad_output", grad_output);
  args.grad_output = grad_output.const_data_ptr();
  args.deterministic = deterministic;
  const bool turned = kOnCuda && argmax == nullptr && pays_to_turn(args);
  Tensor grad_input, pixels;
  if (turned) {
    const int64_t channels = channels_of_pixel(args.channels, grad_output.element_size());
    pixels = torch::stable::new_zeros(grad_output, {images, height, width, channels});
    args.pixels = pixels.mutable_data_ptr();
  }
  if (kOnCuda && !turned) {
    grad_input = torch::stable::new_zeros(grad_output, {images, args.channels, height, width});
  } else {
    grad_input = torch::stable::new_empty(grad_output, {images, args.channels, height, width});
  }
  args.grad_input = grad_input.mutable_data_ptr();
  const Tensor scratch = exact_scratch(rois, turned ? pixels.numel() : grad_input.numel(), args);
  if (!kOnCuda) prefer_huge_pages(args.grad_input, bytes_of(grad_input));
  if (argmax == nullptr) {
    STN_DET_RUN(roi_align_backward_input, args);
    return grad_input;
  }
  check_device("argmax", *argmax, rois);
  STD_TORCH_CHECK(
      argmax->scalar_type() == ScalarType::Int && argmax->numel() == grad_output.numel(),
      "argmax has to be int32 of the shape of the output");
  const Tensor points = torch::stable::contiguous(*argmax);
  args.argmax = const_cast<int32_t*>(static_cast<const int32_t*>(points.const_data_ptr()));
  STN_DET_RUN(roi_align_max_backward, args);
  return grad_input;
}

RoiOptions upright(int64_t rows, int64_t columns, double scale, int64_t sampling_ratio, bool aligned) {
  return {false, rows, columns, scale, sampling_ratio, aligned, false};
}

Tensor roi_align(
    Tensor input, Tensor rois, int64_t rows, int64_t columns, double scale, int64_t sampling_ratio, bool aligned) {
  return forward(input, rois, upright(rows, columns, scale, sampling_ratio, aligned), false).output;
}

Tensor roi_align_backward(
    Tensor grad_output, Tensor rois, int64_t images, int64_t height, int64_t width, int64_t rows, int64_t columns,
    double scale, int64_t sampling_ratio, bool aligned,
    bool deterministic) {
  const RoiOptions options = upright(rows, columns, scale, sampling_ratio, aligned);
  return backward_input(grad_output, nullptr, rois, images, height, width, options, deterministic);
}

std::tuple<Tensor, Tensor> roi_align_max(
    Tensor input, Tensor rois, int64_t rows, int64_t columns, double scale, int64_t sampling_ratio, bool aligned) {
  Pooled pooled = forward(input, rois, upright(rows, columns, scale, sampling_ratio, aligned), true);
  return {pooled.output, pooled.argmax};
}

Tensor roi_align_max_backward(
    Tensor grad_output, Tensor argmax, Tensor rois, int64_t images, int64_t height, int64_t width, int64_t rows,
    int64_t columns, double scale, int64_t sampling_ratio, bool aligned,
    bool deterministic) {
  const RoiOptions options = upright(rows, columns, scale, sampling_ratio, aligned);
  return backward_input(grad_output, &argmax, rois, images, height, width, options, deterministic);
}

Tensor roi_align_rotated(
    Tensor input, Tensor rois, int64_t rows, int64_t columns, double scale, int64_t sampling_ratio, bool aligned,
    bool clockwise) {
  return forward(input, rois, {true, rows, columns, scale, sampling_ratio, aligned, clockwise}, false).output;
}

Tensor roi_align_rotated_backward(
    Tensor grad_output, Tensor rois, int64_t images, int64_t height, int64_t width, int64_t rows, int64_t columns,
    double scale, int64_t sampling_ratio, bool aligned, bool clockwise,
    bool deterministic) {
  const RoiOptions options{true, rows, columns, scale, sampling_ratio, aligned, clockwise};
  return backward_input(grad_output, nullptr, rois, images, height, width, options, deterministic);
}

Tensor roi_align_rotated_backward_rois(
    Tensor grad_output, Tensor input, Tensor rois, int64_t rows, int64_t columns, double scale, int64_t sampling_ratio,
    bool aligned, bool clockwise) {
  const RoiOptions options{true, rows, columns, scale, sampling_ratio, aligned, clockwise};
  STD_TORCH_CHECK(input.dim() == 4, "input has ", input.dim(), " dimensions, expected 4 (N, C, H, W)");
  check_sum_type("rois", rois, input);
  check_sum_type("grad_output", grad_output, input);
  make_contiguous(grad_output, rois);
  RoiArgs args = arguments(input.size(0), input.size(1), input.size(2), input.size(3), rois, options);
  const Frames frames = set_rois(rois, args);
  STD_TORCH_CHECK(
      grad_output.dim() == 4 && grad_output.size(0) == args.rois && grad_output.size(1) == args.channels &&
          grad_output.size(2) == rows && grad_output.size(3) == columns,
      "grad_output does not have the shape of the output");
  Tensor scratch;
  set_input(input, scratch, true, args);
  args.grad_output = grad_output.const_data_ptr();
  Tensor grad_rois = torch::stable::empty_like(rois);
  args.grad_rois = grad_rois.mutable_data_ptr();
  if constexpr (kOnCuda) {
    const Tensor parts = torch::stable::new_empty(rois, {args.rois, kRoiParts, 6}, ScalarType::Double);
    args.grad_frames = static_cast<double*>(parts.mutable_data_ptr());
    STN_DET_RUN(roi_align_backward_frames, args);
    return grad_rois;
  }
  std::vector<double> grad_frames(6 * args.rois);
  args.grad_frames = grad_frames.data();
  STN_DET_RUN(roi_align_backward_frames, args);
  const auto convert = [&](auto* to) {
    const auto* from = static_cast<decltype(to)>(const_cast<void*>(args.regions));
    for (int64_t i = 0; i < args.rois; ++i) {
      frame_to_roi_gradient(from + 6 * i, grad_frames.data() + 6 * i, options, to + 6 * i);
    }
  };
  if (rois.scalar_type() == ScalarType::Double) {
    convert(static_cast<double*>(args.grad_rois));
  } else {
    convert(static_cast<float*>(args.grad_rois));
  }
  return grad_rois;
}

}  // namespace
}  // namespace stn_det

STN_DET_LIBRARY(m) {
  m.impl("roi_align", TORCH_BOX(&stn_det::roi_align));
  m.impl("roi_align_backward", TORCH_BOX(&stn_det::roi_align_backward));
  m.impl("roi_align_max", TORCH_BOX(&stn_det::roi_align_max));
  m.impl("roi_align_max_backward", TORCH_BOX(&stn_det::roi_align_max_backward));
  m.impl("roi_align_rotated", TORCH_BOX(&stn_det::roi_align_rotated));
  m.impl("roi_align_rotated_backward", TORCH_BOX(&stn_det::roi_align_rotated_backward));
  m.impl("roi_align_rotated_backward_rois", TORCH_BOX(&stn_det::roi_align_rotated_backward_rois));
}
