// Reading at given points on CUDA, forward.
#include "warp_forward.h"

namespace stn_det::cuda {

void remap_forward(const WarpArgs& args) { sample_forward<GivenPoints>(args); }

}  // namespace stn_det::cuda
