// The backward pass of reading at given points on CUDA where the channels of a pixel lie side by side.
#include "warp_scatter_packs.h"

namespace stn_det::cuda {

bool remap_backward_packs(const WarpArgs& args, const WarpGrid& grid) { return scatter_packs<GivenPoints>(args, grid); }

}  // namespace stn_det::cuda
