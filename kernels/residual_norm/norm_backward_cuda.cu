#include "kernels/cuda/launch.h"
#include "kernels/residual_norm/norm_cuda.cuh"

namespace recite::kernels {

namespace {

constexpr int norm_parameters = 5;  // weights, offsets, bias

template <class Element>
struct NormBackward {
  int64_t rows;
  int columns, norms, threads;
  bool centred;
  const float *sum, *mean, *rstd, *dsum;
  const Element* dy[2];
  const float* weight[2];
  float* dx;
  Element* dbranch;
  float* shares;                     // (blocks, 5, columns)
  ColumnSums<norm_parameters> sums;  // null: not wanted
};

// A row's inputs as they are in memory.
template <class Element, int Packs, bool Aligned>
struct GradientRow {
  float mean, rstd;
  Pack<float, norm_pack> sum[Packs], dsum[Packs];
  Pack<Element, norm_pack> dy[2][Packs];

  __device__ void load(const NormBackward<Element>& norm, const NormPlace& at, int64_t row) {
    mean = norm.mean[row], rstd = norm.rstd[row];
#pragma unroll
    for (int p = 0; p < Packs; ++p) {
      const int column = at.column(p), D = norm.columns;
      sum[p] = load_pack<Aligned, norm_pack>(norm.sum + row * D, column, D);
      dy[0][p] = load_pack<Aligned, norm_pack>(norm.dy[0] + row * D, column, D);
      if (norm.norms > 1) dy[1][p] = load_pack<Aligned, norm_pack>(norm.dy[1] + row * D, column, D);
      if (norm.dsum) dsum[p] = load_pack<Aligned, norm_pack>(norm.dsum + row * D, column, D);
    }
  }
};

// What a thread's columns of the rows so far add to the parameters' gradients.
template <int Packs>
struct NormSums {
  float weight[2][Packs][norm_pack] = {}, offset[2][Packs][norm_pack] = {}, bias[Packs][norm_pack] = {};
};

// A thread's columns of a row: dx = moved - rstd (mean(g) + normal mean(g normal)), moved = dsum + rstd g, and g the
// gradient in the normalised value.
template <int Packs>
struct NormColumns {
  float rstd;
  float normal[Packs][norm_pack], moved[Packs][norm_pack];
  float totals[2] = {};  // of g and of g normal, over the thread's columns

  template <class Row>
  __device__ NormColumns(const Row& row, int norms, bool has_dsum, const float (&weight)[2][Packs][norm_pack],
                         NormSums<Packs>& sums)
      : rstd(row.rstd) {
#pragma unroll
    for (int p = 0; p < Packs; ++p)
#pragma unroll
      for (int i = 0; i < norm_pack; ++i) {
        normal[p][i] = (row.sum[p].values[i] - row.mean) * rstd;
        float g = 0;
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          if (n >= norms) continue;
          const float dy = to_float(row.dy[n][p].values[i]);
          g += dy * weight[n][p][i];
          sums.weight[n][p][i] += dy * normal[p][i];
          sums.offset[n][p][i] += dy;
        }
        totals[0] += g;
        totals[1] += g * normal[p][i];
        moved[p][i] = rstd * g + (has_dsum ? row.dsum[p].values[i] : 0);
      }
  }
};

// Adds what the groups of a block gathered, in order, and writes it for the block. All threads call it.
template <bool Aligned, int Packs>
__device__ void store_share(const NormPlace& at, float (&sums)[Packs][norm_pack], float* to, int columns,
                            float4* shared) {
  __syncthreads();  // `shared` may still be read
#pragma unroll
  for (int p = 0; p < Packs; ++p)
    if (at.group > 0)
      shared[(at.group * Packs + p) * at.threads + at.thread] =
          make_float4(sums[p][0], sums[p][1], sums[p][2], sums[p][3]);
  __syncthreads();
  if (at.group > 0) return;
#pragma unroll
  for (int p = 0; p < Packs; ++p) {
    for (int group = 1; group < at.groups; ++group) {
      const float4 other = shared[(group * Packs + p) * at.threads + at.thread];
      sums[p][0] += other.x, sums[p][1] += other.y, sums[p][2] += other.z, sums[p][3] += other.w;
    }
    store_pack<Aligned>(sums[p], to, at.column(p), columns);
  }
}

template <class Element, int Packs, int Threads, bool Aligned>
__global__ __launch_bounds__(Threads, norm_residents<Packs>) void norm_backward(const NormBackward<Element> norm) {
  __shared__ GroupSum::Memory memory;
  extern __shared__ float4 shared[];
  const NormPlace at(norm.threads);
  GroupSum sum_over_group(at, memory);
  const int D = norm.columns;
  float weight[2][Packs][norm_pack] = {};
#pragma unroll
  for (int n = 0; n < 2; ++n)
#pragma unroll
    for (int p = 0; p < Packs; ++p)
      if (n < norm.norms) load_floats<Aligned>(norm.weight[n], at.column(p), D, weight[n][p]);
  NormSums<Packs> sums;
  GradientRow<Element, Packs, Aligned> inputs;
  int64_t row = at.first_row();
  if (row < norm.rows) inputs.load(norm, at, row);
  for (; row < norm.rows; row += at.row_step()) {
    NormColumns<Packs> columns(inputs, norm.norms, norm.dsum, weight, sums);
    if (row + at.row_step() < norm.rows) inputs.load(norm, at, row + at.row_step());  // on its way during this row
    sum_over_group(columns.totals);
    const float mean = norm.centred ? columns.totals[0] / static_cast<float>(D) : 0;
    const float slope = columns.totals[1] / static_cast<float>(D);
#pragma unroll
    for (int p = 0; p < Packs; ++p) {
      float dx[norm_pack];
#pragma unroll
      for (int i = 0; i < norm_pack; ++i) {
        dx[i] = columns.moved[p][i] - columns.rstd * (mean + columns.normal[p][i] * slope);
        sums.bias[p][i] += dx[i];
      }
      store_pack<Aligned>(dx, norm.dx + row * D, at.column(p), D);
      if (norm.dbranch) store_pack<Aligned>(dx, norm.dbranch + row * D, at.column(p), D);
    }
  }
  float* share = norm.shares + static_cast<int64_t>(blockIdx.x) * norm_parameters * D;
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    if (norm.sums.to[n]) store_share<Aligned>(at, sums.weight[n], share + n * D, D, shared);
    if (norm.sums.to[2 + n]) store_share<Aligned>(at, sums.offset[n], share + (2 + n) * D, D, shared);
  }
  if (norm.sums.to[4]) store_share<Aligned>(at, sums.bias, share + 4 * D, D, shared);
}

template <class Element>
bool is_aligned(const NormBackward<Element>& norm) {
  bool aligned =
      norm.columns % norm_pack == 0 && hold_packs<norm_pack>(norm.sum, norm.dsum, norm.dx, norm.dbranch, norm.shares);
  for (int n = 0; n < norm.norms; ++n) aligned = aligned && hold_packs<norm_pack>(norm.dy[n], norm.weight[n]);
  return aligned;
}

}  // namespace

int64_t residual_norm_backward_workspace_bytes(const ResidualNormShape& shape) {
  check_norm_shape(shape);
  return norm_blocks(shape) * norm_parameters * shape.columns * static_cast<int64_t>(sizeof(float));
}

template <class Element>
void residual_norm_backward_cuda(const ResidualNormShape& shape, const ResidualNormInputs<Element>& in,
                                 const ResidualNormOutputs<Element>& out, const float* dsum,
                                 const Element* const (&dy)[2], const ResidualNormGradients<Element>& gradients,
                                 void* workspace, cudaStream_t stream) {
  constexpr const char* what = "residual norm's gradient";
  check_norm_shape(shape);
  const NormLayout layout = norm_layout(shape.columns);
  const int64_t blocks = norm_blocks(shape), D = shape.columns;
  const bool second = shape.norms > 1;
  const NormBackward<Element> norm{shape.rows,
                                   static_cast<int>(D),
                                   shape.norms,
                                   layout.threads,
                                   shape.centred,
                                   out.sum,
                                   out.mean,
                                   out.rstd,
                                   dsum,
                                   {dy[0], dy[1]},
                                   {in.weight[0], in.weight[1]},
                                   gradients.x,
                                   gradients.branch,
                                   static_cast<float*>(workspace),
                                   {{gradients.weight[0], second ? gradients.weight[1] : nullptr, gradients.offset[0],
                                     second ? gradients.offset[1] : nullptr, gradients.bias}}};
  const size_t shared_bytes = layout.groups > 1 ? sizeof(float4) * layout.groups * layout.threads * layout.packs : 0;
  with_norm_layout(D, is_aligned(norm), [&](auto packs, auto threads, auto aligned) {
    launch(what, norm_backward<Element, packs(), threads(), aligned()>, dim3(static_cast<unsigned>(blocks)),
           layout.threads * layout.groups, shared_bytes, stream, norm);
  });
  const dim3 tiles(static_cast<unsigned>((D + 31) / 32), norm_parameters);
  launch(what, add_shares<norm_parameters>, tiles, 32 * share_warps, 0, stream, norm.shares, static_cast<int>(blocks),
         norm.columns, norm.sums);
}

#define RECITE_NORM(Element)                                                                                           \
  template void residual_norm_backward_cuda(                                                                           \
      const ResidualNormShape&, const ResidualNormInputs<Element>&, const ResidualNormOutputs<Element>&, const float*, \
      const Element* const(&)[2], const ResidualNormGradients<Element>&, void*, cudaStream_t);
RECITE_NORM(float)
RECITE_NORM(__nv_bfloat16)
#undef RECITE_NORM

}  // namespace recite::kernels
