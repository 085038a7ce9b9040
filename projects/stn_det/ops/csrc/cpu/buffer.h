// Memory of one element type, zeroed. Not std::vector: the linker keeps one copy of std::vector<float> for both instruction
// sets, possibly the one that not every processor runs.
#pragma once

#include <cstdint>

namespace stn_det::STN_DET_ISA {

template <typename T>
class Buffer {
 public:
  explicit Buffer(int64_t size) : values_(new T[size]()) {}
  ~Buffer() { delete[] values_; }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  T* data() { return values_; }
  const T* data() const { return values_; }
  T& operator[](int64_t i) { return values_[i]; }
  const T& operator[](int64_t i) const { return values_[i]; }

 private:
  T* values_;
};

}  // namespace stn_det::STN_DET_ISA
