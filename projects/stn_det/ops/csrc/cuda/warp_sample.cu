// Fused warp and sampling on CUDA, forward.
#include "warp_forward.h"

namespace stn_det::cuda {

void warp_sample_forward(const WarpArgs& args) { sample_forward<MatrixPoints>(args); }

}  // namespace stn_det::cuda
