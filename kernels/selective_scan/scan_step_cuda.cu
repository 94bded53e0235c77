#include "kernels/cuda/overlap.cuh"
#include "kernels/selective_scan/scan_cuda.cuh"

namespace recite::kernels {
namespace {

template <class Element>
struct StepArguments : ScanArguments<Element> {
  Rows<Element> y;
  float* state_after;
};

constexpr int step_vector = 4, step_vectors = 2;  // states of one access; accesses of a lane at once

// `Width` neighbouring states.
template <int Width, class Number>
__device__ void read_states(const Number* from, float (&to)[Width]) {
  if constexpr (Width == 1)
    to[0] = to_float(*from);
  else
    unpack(from, to);
}

// `lanes` neighbouring lanes share a channel of a row, each with `Width` neighbouring states at a time: every state is
// read and written once, in contiguous vectors.
template <class Element, int Width>
__global__ __launch_bounds__(scan_threads) void scan_step(StepArguments<Element> in, int lanes) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * scan_threads + threadIdx.x) / lanes;
  const int b = static_cast<int>(i / in.channels), d = static_cast<int>(i % in.channels);
  const bool within = b < in.batch;  // the others still meet in the shuffles
  const float* const A = in.A + static_cast<int64_t>(d) * in.state;
  float* const state = in.state_after + i * in.state;
  const int first_state = threadIdx.x % lanes * Width, lanes_states = lanes * Width;
  float y = 0, u = 0, z = 0, delta = 0, D = 0;
  let_next_begin();
  if (within) {
#pragma unroll
    for (int v = 0; v < step_vectors; ++v)
      if (const int n = first_state + v * lanes_states; n < in.state) {
        fetch_ahead(state + n);
        fetch_ahead(A + n);
      }
    if (in.delta_bias) delta = in.delta_bias[d];
    if (in.D) D = in.D[d];
  }
  await_previous();
  if (within) {
    u = to_float(in.u.data[b * in.u.stride + d]);
    if (in.z.data) z = to_float(in.z.data[b * in.z.stride + d]);
    delta += to_float(in.delta.data[b * in.delta.stride + d]);
    if (in.softplus) delta = softplus(delta);
    const Element *const B = in.B.data + b * in.B.stride, *const C = in.C.data + b * in.C.stride;
    for (int first = first_state; first < in.state; first += step_vectors * lanes_states) {
      float a[step_vectors][Width], h[step_vectors][Width], of_B[step_vectors][Width], of_C[step_vectors][Width];
#pragma unroll
      for (int v = 0; v < step_vectors; ++v)
        if (const int n = first + v * lanes_states; n < in.state) {
          read_states(state + n, h[v]);
          read_states(A + n, a[v]);
          read_states(B + n, of_B[v]);
          read_states(C + n, of_C[v]);
        }
#pragma unroll
      for (int v = 0; v < step_vectors; ++v)
        if (const int n = first + v * lanes_states; n < in.state) {
#pragma unroll
          for (int e = 0; e < Width; ++e) {
            h[v][e] = exp2_fast(delta * (log2_e * a[v][e])) * h[v][e] + delta * u * of_B[v][e];
            y += of_C[v][e] * h[v][e];
          }
          if constexpr (Width == 1)
            state[n] = h[v][0];
          else
            pack(h[v], state + n);
        }
    }
  }
  for (int mask = lanes / 2; mask > 0; mask /= 2) y += __shfl_xor_sync(0xffffffffu, y, mask);
  if (!within || threadIdx.x % lanes != 0) return;
  y += D * u;
  if (in.z.data) y *= z * sigmoid(z);
  in.y.data[b * in.y.stride + d] = from_float<Element>(y);
}

template <class Element>
bool holds_vectors(const Rows<const Element>& rows) {
  return reinterpret_cast<uintptr_t>(rows.data) % (step_vector * sizeof(Element)) == 0 &&
         rows.stride % step_vector == 0;
}

}  // namespace

template <class Element>
void selective_scan_step_cuda(const ScanShape& shape, const ScanCudaInputs<Element>& in, Rows<Element> y, float* state,
                              cudaStream_t stream) {
  check_scan_shape(shape);
  if (shape.time != 1) throw std::invalid_argument("selective scan on the GPU: a step of more than one token");
  const StepArguments<Element> arguments{scan_arguments(shape, in, {1, scan_interval}), y, state};
  const bool vectors = shape.state % step_vector == 0 && holds_vectors(in.B) && holds_vectors(in.C);
  int lanes = 1;
  while (lanes < 32 && lanes * step_vectors * (vectors ? step_vector : 1) < shape.state) lanes *= 2;
  const dim3 blocks(static_cast<unsigned>(ceil_div(shape.batch * shape.channels * lanes, scan_threads)));
  launch_overlapping("a step of the selective scan", vectors ? scan_step<Element, step_vector> : scan_step<Element, 1>,
                     blocks, scan_threads, 0, stream, arguments, lanes);
}

template void selective_scan_step_cuda<float>(const ScanShape&, const ScanCudaInputs<float>&, Rows<float>, float*,
                                              cudaStream_t);
template void selective_scan_step_cuda<__nv_bfloat16>(const ScanShape&, const ScanCudaInputs<__nv_bfloat16>&,
                                                      Rows<__nv_bfloat16>, float*, cudaStream_t);

}  // namespace recite::kernels
