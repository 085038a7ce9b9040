// The numbers that the shared geometry calculates with: vectors of them on a CPU, one a thread on a GPU.
#pragma once

#ifdef STN_DET_CUDA
#include "../cuda/numbers.h"
#else
#include "../cpu/lanes.h"
#endif
