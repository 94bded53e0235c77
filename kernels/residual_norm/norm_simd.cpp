#include "kernels/residual_norm/norm_simd.h"

#include "kernels/simd/vector.h"

namespace recite::kernels::RECITE_ISA {

namespace {

// Zeros in the lanes from `count` on.
template <class Real>
RECITE_INLINE Vector<Real> first_lanes(Vector<Real> v, int64_t count) {
  if (count >= lanes<Real>) return v;
  return lane_numbers<Real>() < static_cast<typename VectorOf<Real>::Integer>(count) ? v : Vector<Real>{};
}

template <class Real>
RECITE_INLINE void add_to(Real* to, Vector<Real> v, int64_t count) {
  store(load(to, count) + v, to, count);
}

// The row's sum, and what its norms divide by.
template <class Element>
RECITE_INLINE void add_branches(const ResidualNormShape& shape, const ResidualNormInputs<Element>& in,
                                const ResidualNormOutputs<Element>& out, int64_t row) {
  using Real = Sums<Element>;
  const int64_t D = shape.columns;
  Vector<Real> total{};
  for (int64_t c = 0; c < D; c += lanes<Real>) {
    Vector<Real> v = load(in.x + row * D + c, D - c);
    for (const Element* branch : in.branches)
      if (branch) v += load(branch + row * D + c, D - c);
    if (in.bias) v += load(in.bias + c, D - c);
    store(v, out.sum + row * D + c, D - c);
    total += v;
  }
  const Real mean = shape.centred ? sum<Real>(total) / static_cast<Real>(D) : Real(0);
  Vector<Real> squares{};
  for (int64_t c = 0; c < D; c += lanes<Real>) {
    const Vector<Real> v = first_lanes<Real>(load(out.sum + row * D + c, D - c) - mean, D - c);
    squares += v * v;
  }
  const Real variance = sum<Real>(squares) / static_cast<Real>(D);
  out.mean[row] = mean;
  out.rstd[row] = 1 / __builtin_sqrt(variance + static_cast<Real>(shape.epsilon));
}

// One column's gradient in the normalised value, from all the norms, and that value.
template <class Element>
struct Column {
  using Real = Sums<Element>;
  Vector<Real> normal, gradient{}, dy[2]{};

  RECITE_INLINE Column(const NormBackward<Element>& norm, int64_t row, int64_t c) {
    const int64_t D = norm.shape.columns, at = row * D + c, count = D - c;
    normal = first_lanes<Real>((load(norm.out.sum + at, count) - norm.out.mean[row]) * norm.out.rstd[row], count);
    for (int i = 0; i < norm.shape.norms; ++i) {
      dy[i] = load(norm.dy[i] + at, count);
      gradient += dy[i] * load(norm.in.weight[i] + c, count);
    }
  }
};

}  // namespace

template <class Element>
void norm_forward(const ResidualNormShape& shape, const ResidualNormInputs<Element>& in,
                  const ResidualNormOutputs<Element>& out, int64_t first, int64_t last) {
  using Real = Sums<Element>;
  const int64_t D = shape.columns;
  for (int64_t row = first; row < last; ++row) {
    add_branches(shape, in, out, row);
    for (int64_t c = 0; c < D; c += lanes<Real>) {
      const Vector<Real> normal = (load(out.sum + row * D + c, D - c) - out.mean[row]) * out.rstd[row];
      for (int i = 0; i < shape.norms; ++i) {
        Vector<Real> y = normal * load(in.weight[i] + c, D - c);
        if (in.offset[i]) y += load(in.offset[i] + c, D - c);
        store(y, out.y[i] + row * D + c, D - c);
      }
    }
  }
}

// dx = dsum + rstd (g - mean(g) - normal mean(g normal)), g the gradient in the normalised value; an RMSNorm's mean
// does not move.
template <class Element>
void norm_backward(const NormBackward<Element>& norm, const NormSums<Sums<Element>>& to, int64_t first, int64_t last) {
  using Real = Sums<Element>;
  const int64_t D = norm.shape.columns;
  for (int64_t row = first; row < last; ++row) {
    Vector<Real> sums{}, products{};
    for (int64_t c = 0; c < D; c += lanes<Real>) {
      const Column<Element> column(norm, row, c);
      sums += column.gradient;
      products += column.gradient * column.normal;
      for (int i = 0; i < norm.shape.norms; ++i) {
        add_to<Real>(to.weight[i] + c, column.dy[i] * column.normal, D - c);
        if (to.offset[i]) add_to<Real>(to.offset[i] + c, column.dy[i], D - c);
      }
    }
    const Real mean = norm.shape.centred ? sum<Real>(sums) / static_cast<Real>(D) : Real(0);
    const Real slope = sum<Real>(products) / static_cast<Real>(D), rstd = norm.out.rstd[row];
    for (int64_t c = 0; c < D; c += lanes<Real>) {
      const Column<Element> column(norm, row, c);
      Vector<Real> dx = rstd * (column.gradient - mean - column.normal * slope);
      if (norm.dsum) dx += load(norm.dsum + row * D + c, D - c);
      store(dx, norm.dx + row * D + c, D - c);
      if (norm.dbranch) store(dx, norm.dbranch + row * D + c, D - c);
      if (to.bias) add_to<Real>(to.bias + c, dx, D - c);
    }
  }
}

#define RECITE_INSTANTIATE(Element)                                                        \
  template void norm_forward(const ResidualNormShape&, const ResidualNormInputs<Element>&, \
                             const ResidualNormOutputs<Element>&, int64_t, int64_t);       \
  template void norm_backward(const NormBackward<Element>&, const NormSums<Sums<Element>>&, int64_t, int64_t);
RECITE_INSTANTIATE(float)
RECITE_INSTANTIATE(double)
RECITE_INSTANTIATE(bf16)

}  // namespace recite::kernels::RECITE_ISA
