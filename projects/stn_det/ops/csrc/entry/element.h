// The dtypes that kernels read and write, for files that include no header of torch.
#pragma once

namespace stn_det {

enum class Element { kFloat64, kFloat32, kFloat16, kBFloat16 };

}  // namespace stn_det
