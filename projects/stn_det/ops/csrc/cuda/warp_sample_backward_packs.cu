// The backward pass of the fused warp on CUDA where the channels of a pixel lie side by side.
#include "warp_scatter_packs.h"

namespace stn_det::cuda {

bool warp_sample_backward_packs(const WarpArgs& args, const WarpGrid& grid) {
  return scatter_packs<MatrixPoints>(args, grid);
}

}  // namespace stn_det::cuda
