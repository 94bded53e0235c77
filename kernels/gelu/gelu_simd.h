// The parts of GELU that are compiled for each instruction set; gelu_cpu.cpp calls them on rows [first, last).
#pragma once

#include "kernels/gelu/gelu.h"
#include "kernels/simd/isa.h"

namespace recite::kernels {

struct GeluRows {
  int64_t first, last, columns;
};

// dbias (columns) of these rows: added to.
RECITE_DECLARE_SIMD(template <class Element>
                    void gelu_forward(const GeluRows& rows, const Element* u, const Sums<Element>* bias, Element* y);
                    template <class Element>
                    void gelu_backward(const GeluRows& rows, const Element* u, const Sums<Element>* bias,
                                       const Element* dy, Element* du, Sums<Element>* dbias);)

}  // namespace recite::kernels
