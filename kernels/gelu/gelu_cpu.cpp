#include "kernels/gelu/gelu.h"
#include "kernels/gelu/gelu_simd.h"
#include "kernels/simd/rows.h"

namespace recite::kernels {

template <class Element>
void bias_gelu_forward_cpu(const GeluShape& shape, const Element* u, const Sums<Element>* bias, Element* y) {
  const auto kernel = RECITE_SIMD(gelu_forward<Element>);
  for_each_chunk(shape.rows, shape.columns,
                 [&](int64_t, int64_t first, int64_t last) { kernel({first, last, shape.columns}, u, bias, y); });
}

template <class Element>
void bias_gelu_backward_cpu(const GeluShape& shape, const Element* u, const Sums<Element>* bias, const Element* dy,
                            Element* du, Sums<Element>* dbias) {
  const auto kernel = RECITE_SIMD(gelu_backward<Element>);
  auto sums = Workspace<Sums<Element>>::zeros(row_chunks(shape.rows) * shape.columns);
  for_each_chunk(shape.rows, shape.columns, [&](int64_t chunk, int64_t first, int64_t last) {
    kernel({first, last, shape.columns}, u, bias, dy, du, &sums[chunk * shape.columns]);
  });
  add_chunks(sums.data(), row_chunks(shape.rows), shape.columns, shape.columns, dbias);
}

#define RECITE_INSTANTIATE(Element)                                                                            \
  template void bias_gelu_forward_cpu(const GeluShape&, const Element*, const Sums<Element>*, Element*);       \
  template void bias_gelu_backward_cpu(const GeluShape&, const Element*, const Sums<Element>*, const Element*, \
                                       Element*, Sums<Element>*);
RECITE_INSTANTIATE(float)
RECITE_INSTANTIATE(double)
RECITE_INSTANTIATE(bf16)

}  // namespace recite::kernels
