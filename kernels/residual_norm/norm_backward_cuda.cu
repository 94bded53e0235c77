#include "kernels/cuda/launch.h"
#include "kernels/residual_norm/norm_cuda.cuh"

namespace recite::kernels {

namespace {

constexpr int norm_parameters = 5;  // weights, offsets, bias

template <class Element>
struct NormBackward {
  NormRows<Element, 2> rows;  // sum, dsum; dy of each norm
  int norms, threads;
  bool centred;
  const float *mean, *rstd, *weight[2];
  float* dx;
  Element* dbranch;
  float* shares;                     // (blocks, 5, columns)
  ColumnSums<norm_parameters> sums;  // null: not wanted
};

// What a thread's columns of the rows so far add to the parameters' gradients.
template <int Packs, int Size>
struct NormSums {
  float weight[2][Packs][Size] = {}, offset[2][Packs][Size] = {}, bias[Packs][Size] = {};
};

// A pack of columns of a row: the normalised value, and g, the gradient in it. It is computed twice, from shared
// memory: registers are for the sums.
template <int Size>
struct NormColumns {
  float normal[Size], g[Size] = {}, dy[2][Size];

  template <class Reader, class Weights>
  __device__ NormColumns(const Reader& reader, const Weights& weight, int norms, int p, float mean, float rstd) {
    reader.floats(0, p, normal);
#pragma unroll
    for (int i = 0; i < Size; ++i) normal[i] = (normal[i] - mean) * rstd;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      if (n >= norms) continue;
      float slope[Size];
      weight[n].read(p, slope);
      reader.elements(n, p, dy[n]);
#pragma unroll
      for (int i = 0; i < Size; ++i) g[i] += dy[n][i] * slope[i];
    }
  }
};

// Adds what the groups of a block gathered, in order, and writes it for the block. All threads call it.
template <int Packs, int Size>
__device__ void store_share(const NormPlace& at, float (&sums)[Packs][Size], float* to, int columns, float* shared) {
  __syncthreads();  // `shared` may still be read
  const auto slot = [&](int group, int p) { return shared + ((group * Packs + p) * at.threads + at.thread) * Size; };
#pragma unroll
  for (int p = 0; p < Packs; ++p)
    if (at.group > 0) store_pack(sums[p], slot(at.group, p), 0, Size);
  __syncthreads();
  if (at.group > 0) return;
#pragma unroll
  for (int p = 0; p < Packs; ++p) {
    for (int group = 1; group < at.groups; ++group) {
      const Pack<float, Size> other = load_pack<Size>(slot(group, p), 0, Size);
#pragma unroll
      for (int i = 0; i < Size; ++i) sums[p][i] += other.values[i];
    }
    store_pack(sums[p], to, at.column<Size>(p), columns);
  }
}

template <class Element, int Packs, int Size>
__device__ void store_shares(const NormBackward<Element>& norm, const NormPlace& at, NormSums<Packs, Size>& sums,
                             float* shared) {
  const int D = norm.rows.columns;
  float* share = norm.shares + static_cast<int64_t>(blockIdx.x) * norm_parameters * D;
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    if (norm.sums.to[n]) store_share(at, sums.weight[n], share + n * D, D, shared);
    if (norm.sums.to[2 + n]) store_share(at, sums.offset[n], share + (2 + n) * D, D, shared);
  }
  if (norm.sums.to[4]) store_share(at, sums.bias, share + 4 * D, D, shared);
}

template <class Element, int Packs, int Size, int Threads>
__global__ __launch_bounds__(Threads, 1) void norm_backward(const NormBackward<Element> norm) {
  extern __shared__ float4 shared[];
  let_next_begin();
  await_previous();
  const NormPlace at(norm.threads);
  GroupSum sum_over_group(at, *reinterpret_cast<GroupSum::Memory*>(shared));
  float4* slots = shared + sizeof(GroupSum::Memory) / sizeof(float4);
  RowReader<Element, 2, Packs, Size> reader(norm.rows, at, slots);
  const int D = norm.rows.columns;
  const NormParameter<Packs, Size> weight[2] = {{norm.weight[0], at, D}, {norm.weight[1], at, D}};
  NormSums<Packs, Size> sums;
  float next_mean = 0, next_rstd = 0;
  if (reader.has_row()) next_mean = norm.mean[reader.row()], next_rstd = norm.rstd[reader.row()];
  while (reader.has_row()) {
    const int64_t row = reader.row(), next = row + at.row_step();
    const float mean = next_mean, rstd = next_rstd;
    if (next < norm.rows.rows) next_mean = norm.mean[next], next_rstd = norm.rstd[next];
    reader.wait();
    float totals[2] = {};  // of g and of g normal
#pragma unroll
    for (int p = 0; p < Packs; ++p) {
      const NormColumns<Size> columns(reader, weight, norm.norms, p, mean, rstd);
#pragma unroll
      for (int i = 0; i < Size; ++i) totals[0] += columns.g[i], totals[1] += columns.g[i] * columns.normal[i];
    }
    sum_over_group(totals);
    const float mean_of_g = norm.centred ? totals[0] / static_cast<float>(D) : 0;
    const float slope = totals[1] / static_cast<float>(D);
#pragma unroll
    for (int p = 0; p < Packs; ++p) {
      const NormColumns<Size> columns(reader, weight, norm.norms, p, mean, rstd);
      float dx[Size] = {};
      if (norm.rows.floats[1]) reader.floats(1, p, dx);
#pragma unroll
      for (int i = 0; i < Size; ++i) {
        dx[i] += rstd * (columns.g[i] - mean_of_g - columns.normal[i] * slope);
        sums.bias[p][i] += dx[i];
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          if (n >= norm.norms) continue;
          sums.weight[n][p][i] += columns.dy[n][i] * columns.normal[i];
          sums.offset[n][p][i] += columns.dy[n][i];
        }
      }
      store_pack(dx, norm.dx + row * D, at.column<Size>(p), D);
      if (norm.dbranch) store_pack(dx, norm.dbranch + row * D, at.column<Size>(p), D);
    }
    reader.advance();
  }
  if (reader.row() - at.group < norm.rows.rows) sum_over_group.pass();  // the block's first group had this turn's row
  store_shares(norm, at, sums, reinterpret_cast<float*>(slots));
}

template <class Element>
bool is_aligned(const NormBackward<Element>& norm) {
  bool aligned = norm.rows.columns % norm_pack == 0 && norm.rows.columns <= widest_norm_packs &&
                 hold_packs<norm_pack>(norm.rows.floats[0], norm.rows.floats[1], norm.dx, norm.dbranch, norm.shares);
  for (int n = 0; n < norm.norms; ++n)
    aligned = aligned && hold_packs<norm_pack>(norm.rows.elements[n], norm.weight[n]);
  return aligned;
}

}  // namespace

int64_t residual_norm_backward_workspace_bytes(const ResidualNormShape& shape) {
  check_norm_shape(shape);
  const int64_t most_blocks = norm_blocks<float, NormPass::backward>(shape);  // 16-bit elements have as many or fewer
  return most_blocks * norm_parameters * shape.columns * static_cast<int64_t>(sizeof(float));
}

template <class Element>
void residual_norm_backward_cuda(const ResidualNormShape& shape, const ResidualNormInputs<Element>& in,
                                 const ResidualNormOutputs<Element>& out, const float* dsum,
                                 const Element* const (&dy)[2], const ResidualNormGradients<Element>& gradients,
                                 void* workspace, cudaStream_t stream) {
  constexpr const char* what = "residual norm's gradient";
  check_norm_shape(shape);
  const NormLayout layout = norm_layout<Element, NormPass::backward>(shape.columns);
  const int64_t blocks = norm_blocks<Element, NormPass::backward>(shape), D = shape.columns;
  const bool second = shape.norms > 1;
  const NormBackward<Element> norm{
      {shape.rows, static_cast<int>(D), {out.sum, dsum}, {dy[0], second ? dy[1] : nullptr}},
      shape.norms,
      layout.threads,
      shape.centred,
      out.mean,
      out.rstd,
      {in.weight[0], second ? in.weight[1] : nullptr},
      gradients.x,
      gradients.branch,
      static_cast<float*>(workspace),
      {{gradients.weight[0], second ? gradients.weight[1] : nullptr, gradients.offset[0],
        second ? gradients.offset[1] : nullptr, gradients.bias}}};
  const bool packed =
      is_aligned(norm) && has_room_for_copies<Element, NormPass::backward>(what, D, sizeof(GroupSum::Memory));
  with_norm_layout<Element, NormPass::backward>(D, packed, [&](auto packs, auto size, auto most_threads) {
    const int threads = layout.threads * layout.groups;
    // The copies' memory, and then that of the groups' sums.
    const int thread_bytes = std::max<int>(RowReader<Element, 2, packs(), size()>::shared_bytes,
                                           layout.groups > 1 ? packs() * size() * sizeof(float) : 0);
    launch_overlapping(what, norm_backward<Element, packs(), size(), most_threads()>,
                       dim3(static_cast<unsigned>(blocks)), threads, sizeof(GroupSum::Memory) + threads * thread_bytes,
                       stream, norm);
  });
  add_all_shares(what, norm.shares, blocks, D, norm.sums, stream);
}

#define RECITE_NORM(Element)                                                                                           \
  template void residual_norm_backward_cuda(                                                                           \
      const ResidualNormShape&, const ResidualNormInputs<Element>&, const ResidualNormOutputs<Element>&, const float*, \
      const Element* const(&)[2], const ResidualNormGradients<Element>&, void*, cudaStream_t);
RECITE_NORM(float)
RECITE_NORM(__nv_bfloat16)
#undef RECITE_NORM

}  // namespace recite::kernels
