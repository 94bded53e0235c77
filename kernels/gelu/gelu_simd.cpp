#include "kernels/gelu/gelu_simd.h"

#include "kernels/simd/math.h"

namespace recite::kernels::RECITE_ISA {

template <class Element>
void gelu_forward(const GeluRows& rows, const Element* u, const Sums<Element>* bias, Element* y) {
  using Real = Sums<Element>;
  for (int64_t r = rows.first; r < rows.last; ++r)
    for (int64_t c = 0; c < rows.columns; c += lanes<Real>) {
      const int64_t at = r * rows.columns + c, count = rows.columns - c;
      const Vector<Real> x = load(u + at, count) + load(bias + c, count);
      store(x * normal(x).distribution, y + at, count);
    }
}

template <class Element>
void gelu_backward(const GeluRows& rows, const Element* u, const Sums<Element>* bias, const Element* dy, Element* du,
                   Sums<Element>* dbias) {
  using Real = Sums<Element>;
  for (int64_t r = rows.first; r < rows.last; ++r)
    for (int64_t c = 0; c < rows.columns; c += lanes<Real>) {
      const int64_t at = r * rows.columns + c, count = rows.columns - c;
      const Vector<Real> x = load(u + at, count) + load(bias + c, count);
      const Normal<Real> of = normal(x);
      const Vector<Real> dx = load(dy + at, count) * (of.distribution + x * of.density);
      store(dx, du + at, count);
      store(load(dbias + c, count) + dx, dbias + c, count);
    }
}

#define RECITE_INSTANTIATE(Element)                                                                            \
  template void gelu_forward(const GeluRows&, const Element*, const Sums<Element>*, Element*);                 \
  template void gelu_backward(const GeluRows&, const Element*, const Sums<Element>*, const Element*, Element*, \
                              Sums<Element>*);
RECITE_INSTANTIATE(float)
RECITE_INSTANTIATE(double)
RECITE_INSTANTIATE(bf16)

}  // namespace recite::kernels::RECITE_ISA
