// Tells Python which of the two builds of the kernels runs on this machine.
#include "../entry/run.h"

extern "C" __attribute__((visibility("default"))) const char* stn_det_instruction_set() {
  return stn_det::has_avx2() ? "AVX2" : "portable";
}
