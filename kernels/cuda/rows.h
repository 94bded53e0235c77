// Rows of a (B, T, width) array on a GPU that may be a part of a wider one.
#pragma once

#include <cstdint>

namespace recite::kernels {

// Row (b, t) is `width` numbers from data + (b T + t) stride on. Null data: the array is absent.
template <class Element>
struct Rows {
  Element* data = nullptr;
  int64_t stride = 0;
};

}  // namespace recite::kernels
