#include "kernels/residual_norm/residual_norm.h"

#include "kernels/residual_norm/norm_simd.h"
#include "kernels/simd/rows.h"

namespace recite::kernels {

template <class Element>
void residual_norm_forward_cpu(const ResidualNormShape& shape, const ResidualNormInputs<Element>& in,
                               const ResidualNormOutputs<Element>& out) {
  const auto kernel = RECITE_SIMD(norm_forward<Element>);
  for_each_chunk(shape.rows, shape.columns,
                 [&](int64_t, int64_t first, int64_t last) { kernel(shape, in, out, first, last); });
}

template <class Element>
void residual_norm_backward_cpu(const ResidualNormShape& shape, const ResidualNormInputs<Element>& in,
                                const ResidualNormOutputs<Element>& out, const Sums<Element>* dsum,
                                const Element* const (&dy)[2], const ResidualNormGradients<Element>& gradients) {
  using Real = Sums<Element>;
  const auto kernel = RECITE_SIMD(norm_backward<Element>);
  const NormBackward<Element> norm{shape, in, out, dsum, {dy[0], dy[1]}, gradients.x, gradients.branch};
  // Every parameter's sums over a chunk, side by side.
  Real* const wanted[] = {gradients.weight[0], gradients.weight[1], gradients.offset[0], gradients.offset[1],
                          gradients.bias};
  constexpr int64_t parameters = std::size(wanted);
  const int64_t D = shape.columns, chunks = row_chunks(shape.rows);
  auto sums = Workspace<Real>::zeros(chunks * parameters * D);
  for_each_chunk(shape.rows, D, [&](int64_t chunk, int64_t first, int64_t last) {
    const auto of = [&](int parameter) {
      return wanted[parameter] ? &sums[(chunk * parameters + parameter) * D] : nullptr;
    };
    kernel(norm, {{of(0), of(1)}, {of(2), of(3)}, of(4)}, first, last);
  });
  for (int64_t parameter = 0; parameter < parameters; ++parameter)
    if (wanted[parameter]) add_chunks(sums.data() + parameter * D, chunks, parameters * D, D, wanted[parameter]);
}

#define RECITE_INSTANTIATE(Element)                                                                      \
  template void residual_norm_forward_cpu(const ResidualNormShape&, const ResidualNormInputs<Element>&,  \
                                          const ResidualNormOutputs<Element>&);                          \
  template void residual_norm_backward_cpu(const ResidualNormShape&, const ResidualNormInputs<Element>&, \
                                           const ResidualNormOutputs<Element>&, const Sums<Element>*,    \
                                           const Element* const(&)[2], const ResidualNormGradients<Element>&);
RECITE_INSTANTIATE(float)
RECITE_INSTANTIATE(double)
RECITE_INSTANTIATE(bf16)

}  // namespace recite::kernels
