#include "kernels/simd/math.h"
#include "tests/kernels/simd_functions.h"

namespace recite::kernels::RECITE_ISA {

// `size` must be a multiple of the widest vector.
template <class Real>
void simd_functions(const Real* x, int64_t size, const SimdFunctions<Real>& to) {
  for (int64_t i = 0; i < size; i += lanes<Real>) {
    const Vector<Real> v = load(x + i);
    store(exp<Real>(v), to.exp + i);
    store(exp2_of_negative<Real>(v), to.exp2_of_negative + i);
    store(sigmoid<Real>(v), to.sigmoid + i);
    store(softplus<Real>(v), to.softplus + i);
    store(normal(v).density, to.density + i);
    store(normal(v).distribution, to.distribution + i);
    store(broadcast(sum<Real>(v)), to.sum + i);
  }
}

void simd_bf16(const float* x, int64_t size, bf16* stored, float* loaded) {
  for (int64_t i = 0; i < size; i += lanes<float>) {
    store(load(x + i, size - i), stored + i, size - i);
    store(load(stored + i, size - i), loaded + i, size - i);
  }
}

template void simd_functions(const float*, int64_t, const SimdFunctions<float>&);
template void simd_functions(const double*, int64_t, const SimdFunctions<double>&);

}  // namespace recite::kernels::RECITE_ISA
