// torch's thread pool as a plain function, for files that include no header of torch.
#pragma once

#include <cstdint>

namespace stn_det {

using RangeBody = void (*)(int64_t begin, int64_t end, void* context);
using ParallelFor = void (*)(int64_t begin, int64_t end, int64_t grain, RangeBody body, void* context);

// Calls body(begin, end) on parts of [begin, end), at least `grain` long each but the last.
template <typename Body>
inline void for_ranges(ParallelFor run, int64_t begin, int64_t end, int64_t grain, const Body& body) {
  if (begin >= end) return;
  run(
      begin, end, grain,
      [](int64_t first, int64_t last, void* context) { (*static_cast<const Body*>(context))(first, last); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

}  // namespace stn_det
