#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>

namespace recite::kernels {

// What the widest vector needs, in bytes, and its numbers: float32.
constexpr int64_t workspace_alignment = 64;
constexpr int64_t widest_lanes = 16;

inline int64_t rounded_up(int64_t size, int64_t multiple) { return (size + multiple - 1) / multiple * multiple; }

// An aligned array that kernels work in. Not for *_simd.cpp files, which must emit no such symbols.
template <class Real>
class Workspace {
 public:
  // Uninitialised.
  explicit Workspace(int64_t size)
      : data_(static_cast<Real*>(::operator new(size * sizeof(Real), std::align_val_t(workspace_alignment)))) {}

  static Workspace zeros(int64_t size) {
    Workspace workspace(size);
    std::fill_n(workspace.data(), size, Real(0));
    return workspace;
  }

  Real* data() { return data_.get(); }
  const Real* data() const { return data_.get(); }
  Real& operator[](int64_t i) { return data_.get()[i]; }

 private:
  struct Free {
    void operator()(Real* data) const { ::operator delete(data, std::align_val_t(workspace_alignment)); }
  };
  std::unique_ptr<Real, Free> data_;
};

// A copy of (rows, columns), transposed and scaled, each of its rows filled with zeros up to `padded`:
// (columns, padded).
template <class Real>
Workspace<Real> transposed(const Real* from, int64_t rows, int64_t columns, int64_t padded, Real scale = 1) {
  Workspace<Real> to = Workspace<Real>::zeros(columns * padded);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) to[c * padded + r] = scale * from[r * columns + c];
  return to;
}

}  // namespace recite::kernels
