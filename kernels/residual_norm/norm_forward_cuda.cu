#include "kernels/cuda/launch.h"
#include "kernels/residual_norm/norm_cuda.cuh"

namespace recite::kernels {

namespace {

template <class Element>
struct NormForward {
  int64_t rows;
  int columns, norms, threads;
  bool centred;
  float epsilon;
  ResidualNormInputs<Element> in;
  ResidualNormOutputs<Element> out;
};

// A row's inputs as they are in memory.
template <class Element, int Packs, bool Aligned>
struct StreamRow {
  Pack<float, norm_pack> x[Packs];
  Pack<Element, norm_pack> branches[2][Packs];

  __device__ void load(const NormForward<Element>& norm, const NormPlace& at, int64_t row) {
#pragma unroll
    for (int p = 0; p < Packs; ++p) {
      const int column = at.column(p), D = norm.columns;
      x[p] = load_pack<Aligned, norm_pack>(norm.in.x + row * D, column, D);
#pragma unroll
      for (int b = 0; b < 2; ++b)
        if (norm.in.branches[b])
          branches[b][p] = load_pack<Aligned, norm_pack>(norm.in.branches[b] + row * D, column, D);
    }
  }
  __device__ void add(const NormForward<Element>& norm, const float (&bias)[Packs][norm_pack],
                      float (&sum)[Packs][norm_pack]) const {
#pragma unroll
    for (int p = 0; p < Packs; ++p)
#pragma unroll
      for (int i = 0; i < norm_pack; ++i) {
        sum[p][i] = x[p].values[i];
#pragma unroll
        for (int b = 0; b < 2; ++b)
          if (norm.in.branches[b]) sum[p][i] += to_float(branches[b][p].values[i]);
        sum[p][i] += bias[p][i];
      }
  }
};

// A thread's columns of the parameters, for all rows.
template <int Packs>
struct NormParameters {
  float bias[Packs][norm_pack] = {}, weight[2][Packs][norm_pack] = {}, offset[2][Packs][norm_pack] = {};

  template <bool Aligned, class Element>
  __device__ void load(const NormForward<Element>& norm, const NormPlace& at) {
#pragma unroll
    for (int p = 0; p < Packs; ++p) {
      const int column = at.column(p), D = norm.columns;
      if (norm.in.bias) load_floats<Aligned>(norm.in.bias, column, D, bias[p]);
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        if (n >= norm.norms) continue;
        load_floats<Aligned>(norm.in.weight[n], column, D, weight[n][p]);
        if (norm.in.offset[n]) load_floats<Aligned>(norm.in.offset[n], column, D, offset[n][p]);
      }
    }
  }
};

template <int Packs>
__device__ float mean_of(const float (&v)[Packs][norm_pack], int columns, GroupSum& sum_over_group) {
  float total[1] = {};
#pragma unroll
  for (int p = 0; p < Packs; ++p)
#pragma unroll
    for (int i = 0; i < norm_pack; ++i) total[0] += v[p][i];
  sum_over_group(total);
  return total[0] / static_cast<float>(columns);
}

// The mean of (v - mean)^2, from registers: a second pass loses no digits to a large mean.
template <int Packs>
__device__ float variance_of(const NormPlace& at, const float (&v)[Packs][norm_pack], float mean, int columns,
                             GroupSum& sum_over_group) {
  float squares[1] = {};
#pragma unroll
  for (int p = 0; p < Packs; ++p)
#pragma unroll
    for (int i = 0; i < norm_pack; ++i)
      if (at.column(p) + i < columns) squares[0] += (v[p][i] - mean) * (v[p][i] - mean);
  sum_over_group(squares);
  return squares[0] / static_cast<float>(columns);
}

template <class Element, int Packs, int Threads, bool Aligned>
__global__ __launch_bounds__(Threads, norm_residents<Packs>) void norm_forward(const NormForward<Element> norm) {
  __shared__ GroupSum::Memory memory;
  const NormPlace at(norm.threads);
  GroupSum sum_over_group(at, memory);
  NormParameters<Packs> parameters;
  parameters.template load<Aligned>(norm, at);
  const int D = norm.columns;
  StreamRow<Element, Packs, Aligned> inputs;
  int64_t row = at.first_row();
  if (row < norm.rows) inputs.load(norm, at, row);
  for (; row < norm.rows; row += at.row_step()) {
    float v[Packs][norm_pack];
    inputs.add(norm, parameters.bias, v);
    if (row + at.row_step() < norm.rows) inputs.load(norm, at, row + at.row_step());  // on its way during this row
#pragma unroll
    for (int p = 0; p < Packs; ++p) store_pack<Aligned>(v[p], norm.out.sum + row * D, at.column(p), D);
    const float mean = norm.centred ? mean_of(v, D, sum_over_group) : 0;
    const float rstd = rsqrtf(variance_of(at, v, mean, D, sum_over_group) + norm.epsilon);
    if (at.thread == 0) norm.out.mean[row] = mean, norm.out.rstd[row] = rstd;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      if (n >= norm.norms) continue;
#pragma unroll
      for (int p = 0; p < Packs; ++p) {
        float y[norm_pack];
#pragma unroll
        for (int i = 0; i < norm_pack; ++i)
          y[i] = (v[p][i] - mean) * rstd * parameters.weight[n][p][i] + parameters.offset[n][p][i];
        store_pack<Aligned>(y, norm.out.y[n] + row * D, at.column(p), D);
      }
    }
  }
}

template <class Element>
bool is_aligned(const NormForward<Element>& norm) {
  bool aligned = norm.columns % norm_pack == 0 &&
                 hold_packs<norm_pack>(norm.in.x, norm.in.branches[0], norm.in.branches[1], norm.in.bias, norm.out.sum);
  for (int n = 0; n < norm.norms; ++n)
    aligned = aligned && hold_packs<norm_pack>(norm.in.weight[n], norm.in.offset[n], norm.out.y[n]);
  return aligned;
}

}  // namespace

template <class Element>
void residual_norm_forward_cuda(const ResidualNormShape& shape, const ResidualNormInputs<Element>& in,
                                const ResidualNormOutputs<Element>& out, cudaStream_t stream) {
  check_norm_shape(shape);
  const NormLayout layout = norm_layout(shape.columns);
  const NormForward<Element> norm{shape.rows,    static_cast<int>(shape.columns),   shape.norms, layout.threads,
                                  shape.centred, static_cast<float>(shape.epsilon), in,          out};
  with_norm_layout(shape.columns, is_aligned(norm), [&](auto packs, auto threads, auto aligned) {
    launch("residual norm", norm_forward<Element, packs(), threads(), aligned()>,
           dim3(static_cast<unsigned>(norm_blocks(shape))), layout.threads * layout.groups, 0, stream, norm);
  });
}

#define RECITE_NORM(Element)                                                                             \
  template void residual_norm_forward_cuda(const ResidualNormShape&, const ResidualNormInputs<Element>&, \
                                           const ResidualNormOutputs<Element>&, cudaStream_t);
RECITE_NORM(float)
RECITE_NORM(__nv_bfloat16)
#undef RECITE_NORM

}  // namespace recite::kernels
