// Memory of one element type, zeroed. Not std::vector: the linker keeps one copy of std::vector<float> for both
// instruction sets, possibly the one that not every processor runs.
#pragma once

#include <cstdint>
#include <new>

namespace stn_det::STN_DET_ISA {

template <typename T>
class Buffer {
 public:
  explicit Buffer(int64_t size) : values_(new T[size]()), size_(size) {}
  ~Buffer() { delete[] values_; }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  int64_t size() const { return size_; }
  T* data() { return values_; }
  const T* data() const { return values_; }
  T& operator[](int64_t i) { return values_[i]; }
  const T& operator[](int64_t i) const { return values_[i]; }

 private:
  T* values_;
  int64_t size_;
};

// Memory that begins with a cache line; what it holds at first is undefined.
template <typename T>
class LineBuffer {
 public:
  explicit LineBuffer(int64_t size)
      : values_(static_cast<T*>(operator new(static_cast<size_t>(size) * sizeof(T), std::align_val_t{64}))) {}
  ~LineBuffer() { operator delete(values_, std::align_val_t{64}); }
  LineBuffer(const LineBuffer&) = delete;
  LineBuffer& operator=(const LineBuffer&) = delete;

  T* data() { return values_; }
  const T* data() const { return values_; }

 private:
  T* values_;
};

}  // namespace stn_det::STN_DET_ISA
