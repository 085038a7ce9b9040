// How functions are marked that the CPU and CUDA share.
#pragma once

#ifdef __CUDACC__
#define STN_DET_INLINE __host__ __device__ inline
#else
#define STN_DET_INLINE inline
#endif
