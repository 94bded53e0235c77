#include "kernels/cuda/overlap.cuh"
#include "kernels/residual_norm/norm_cuda.cuh"

namespace recite::kernels {

namespace {

template <class Element>
struct NormForward {
  NormRows<Element, 1> rows;  // x; branches
  int norms, threads;
  bool centred;
  float epsilon;
  const float *bias, *weight[2], *offset[2];
  ResidualNormOutputs<Element> out;
};

template <int Packs, int Size, class Element>
__device__ void add_branches(const RowReader<Element, 1, Packs, Size>& reader, const NormRows<Element, 1>& rows,
                             const NormParameter<Packs, Size>& bias, float (&sum)[Packs][Size]) {
#pragma unroll
  for (int p = 0; p < Packs; ++p) {
    reader.floats(0, p, sum[p]);
    float added[Size];
#pragma unroll
    for (int array = 0; array < 2; ++array) {
      if (!rows.elements[array]) continue;
      reader.elements(array, p, added);
#pragma unroll
      for (int i = 0; i < Size; ++i) sum[p][i] += added[i];
    }
    bias.read(p, added);
#pragma unroll
    for (int i = 0; i < Size; ++i) sum[p][i] += added[i];
  }
}

template <int Packs, int Size>
__device__ float mean_of(const float (&v)[Packs][Size], int columns, GroupSum& sum_over_group) {
  float total[1] = {};
#pragma unroll
  for (int p = 0; p < Packs; ++p)
#pragma unroll
    for (int i = 0; i < Size; ++i) total[0] += v[p][i];
  sum_over_group(total);
  return total[0] / static_cast<float>(columns);
}

// The mean of (v - mean)^2, from registers: a second pass loses no digits to a large mean.
template <int Packs, int Size>
__device__ float variance_of(const NormPlace& at, const float (&v)[Packs][Size], float mean, int columns,
                             GroupSum& sum_over_group) {
  float squares[1] = {};
#pragma unroll
  for (int p = 0; p < Packs; ++p)
#pragma unroll
    for (int i = 0; i < Size; ++i)
      if (at.column<Size>(p) < columns) squares[0] += (v[p][i] - mean) * (v[p][i] - mean);
  sum_over_group(squares);
  return squares[0] / static_cast<float>(columns);
}

template <class Element, int Packs, int Size, int Threads>
__global__ __launch_bounds__(Threads, 1) void norm_forward(const NormForward<Element> norm) {
  extern __shared__ float4 shared[];
  let_next_begin();
  const NormPlace at(norm.threads);
  const int D = norm.rows.columns;
  using Parameter = NormParameter<Packs, Size>;
  const Parameter bias(norm.bias, at, D);
  const Parameter weight[2] = {{norm.weight[0], at, D}, {norm.weight[1], at, D}};
  const Parameter offset[2] = {{norm.offset[0], at, D}, {norm.offset[1], at, D}};
  await_previous();
  GroupSum sum_over_group(at, *reinterpret_cast<GroupSum::Memory*>(shared));
  float4* slots = shared + sizeof(GroupSum::Memory) / sizeof(float4);
  RowReader<Element, 1, Packs, Size> reader(norm.rows, at, slots);
  while (reader.has_row()) {
    const int64_t row = reader.row();
    float v[Packs][Size];
    reader.wait();
    add_branches(reader, norm.rows, bias, v);
    reader.advance();
#pragma unroll
    for (int p = 0; p < Packs; ++p) store_pack(v[p], norm.out.sum + row * D, at.column<Size>(p), D);
    const float mean = norm.centred ? mean_of(v, D, sum_over_group) : 0;
    const float rstd = rsqrtf(variance_of(at, v, mean, D, sum_over_group) + norm.epsilon);
    if (at.thread == 0) norm.out.mean[row] = mean, norm.out.rstd[row] = rstd;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      if (n >= norm.norms) continue;
#pragma unroll
      for (int p = 0; p < Packs; ++p) {
        float slope[Size], y[Size];
        weight[n].read(p, slope);
        offset[n].read(p, y);
#pragma unroll
        for (int i = 0; i < Size; ++i) y[i] += (v[p][i] - mean) * rstd * slope[i];
        store_pack(y, norm.out.y[n] + row * D, at.column<Size>(p), D);
      }
    }
  }
}

template <class Element>
bool is_aligned(const ResidualNormShape& shape, const ResidualNormInputs<Element>& in,
                const ResidualNormOutputs<Element>& out) {
  bool aligned = shape.columns % norm_pack == 0 && shape.columns <= widest_norm_packs &&
                 hold_packs<norm_pack>(in.x, in.branches[0], in.branches[1], in.bias, out.sum);
  for (int n = 0; n < shape.norms; ++n)
    aligned = aligned && hold_packs<norm_pack>(in.weight[n], in.offset[n], out.y[n]);
  return aligned;
}

}  // namespace

template <class Element>
void residual_norm_forward_cuda(const ResidualNormShape& shape, const ResidualNormInputs<Element>& in,
                                const ResidualNormOutputs<Element>& out, cudaStream_t stream) {
  check_norm_shape(shape);
  const NormLayout layout = norm_layout<Element, NormPass::forward>(shape.columns);
  const bool second = shape.norms > 1;
  const NormForward<Element> norm{
      {shape.rows, static_cast<int>(shape.columns), {in.x}, {in.branches[0], in.branches[1]}},
      shape.norms,
      layout.threads,
      shape.centred,
      static_cast<float>(shape.epsilon),
      in.bias,
      {in.weight[0], second ? in.weight[1] : nullptr},
      {in.offset[0], second ? in.offset[1] : nullptr},
      out};
  constexpr const char* what = "residual norm";
  const bool packed = is_aligned(shape, in, out) &&
                      has_room_for_copies<Element, NormPass::forward>(what, shape.columns, sizeof(GroupSum::Memory));
  with_norm_layout<Element, NormPass::forward>(shape.columns, packed, [&](auto packs, auto size, auto most_threads) {
    const int threads = layout.threads * layout.groups;
    launch_overlapping(what, norm_forward<Element, packs(), size(), most_threads()>,
                       dim3(static_cast<unsigned>(norm_blocks<Element, NormPass::forward>(shape))), threads,
                       sizeof(GroupSum::Memory) + threads * RowReader<Element, 1, packs(), size()>::shared_bytes,
                       stream, norm);
  });
}

#define RECITE_NORM(Element)                                                                             \
  template void residual_norm_forward_cuda(const ResidualNormShape&, const ResidualNormInputs<Element>&, \
                                           const ResidualNormOutputs<Element>&, cudaStream_t);
RECITE_NORM(float)
RECITE_NORM(__nv_bfloat16)
#undef RECITE_NORM

}  // namespace recite::kernels
