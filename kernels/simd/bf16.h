// bfloat16 in memory, on the CPU: the upper half of a float32. Arithmetic on it is float32.
#pragma once

#include <cstdint>

namespace recite::kernels {

struct bf16 {
  uint16_t bits;
};

// The type that sums of elements are kept in.
template <class Element>
struct SumsOf {
  using type = Element;
};
template <>
struct SumsOf<bf16> {
  using type = float;
};
template <class Element>
using Sums = typename SumsOf<Element>::type;

}  // namespace recite::kernels
