#include "kernels/selective_scan/scan_cuda.cuh"

namespace recite::kernels {
namespace {

template <class Element>
struct StepArguments : ScanArguments<Element> {
  Rows<Element> y;
  float* state_after;
};

// `lanes` neighbouring lanes share a channel of a row, each with `Width` neighbouring states at a time: every state is
// read and written once, in contiguous vectors.
template <class Element, int Width>
__global__ __launch_bounds__(scan_threads) void scan_step(StepArguments<Element> in, int lanes) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * scan_threads + threadIdx.x) / lanes;
  const int b = static_cast<int>(i / in.channels), d = static_cast<int>(i % in.channels);
  const bool within = b < in.batch;  // the others still meet in the shuffles
  float y = 0, u = 0;
  if (within) {
    u = to_float(in.u.data[b * in.u.stride + d]);
    float delta = to_float(in.delta.data[b * in.delta.stride + d]);
    if (in.delta_bias) delta += in.delta_bias[d];
    if (in.softplus) delta = softplus(delta);
    const float* A = in.A + static_cast<int64_t>(d) * in.state;
    float* state = in.state_after + i * in.state;
    for (int n = threadIdx.x % lanes * Width; n < in.state; n += lanes * Width) {
      float a[Width], h[Width];
      if constexpr (Width == 4) {
        load_vectors(A + n, a);
        load_vectors(state + n, h);
      } else {
        a[0] = A[n], h[0] = state[n];
      }
#pragma unroll
      for (int e = 0; e < Width; ++e) {
        h[e] = exp2_fast(delta * (log2_e * a[e])) * h[e] + delta * u * to_float(in.B.data[b * in.B.stride + n + e]);
        y += to_float(in.C.data[b * in.C.stride + n + e]) * h[e];
      }
      if constexpr (Width == 4)
        *reinterpret_cast<float4*>(state + n) = make_float4(h[0], h[1], h[2], h[3]);
      else
        state[n] = h[0];
    }
  }
  for (int mask = lanes / 2; mask > 0; mask /= 2) y += __shfl_xor_sync(0xffffffffu, y, mask);
  if (!within || threadIdx.x % lanes != 0) return;
  if (in.D) y += in.D[d] * u;
  if (in.z.data) {
    const float z = to_float(in.z.data[b * in.z.stride + d]);
    y *= z * sigmoid(z);
  }
  in.y.data[b * in.y.stride + d] = from_float<Element>(y);
}

}  // namespace

template <class Element>
void selective_scan_step_cuda(const ScanShape& shape, const ScanCudaInputs<Element>& in, Rows<Element> y, float* state,
                              cudaStream_t stream) {
  check_scan_shape(shape);
  if (shape.time != 1) throw std::invalid_argument("selective scan on the GPU: a step of more than one token");
  const StepArguments<Element> arguments{scan_arguments(shape, in, {1, scan_interval}), y, state};
  const bool vectors = shape.state % 4 == 0;
  int lanes = 1;
  while (lanes < 32 && lanes * (vectors ? 4 : 1) < shape.state) lanes *= 2;
  const dim3 blocks(static_cast<unsigned>(ceil_div(shape.batch * shape.channels * lanes, scan_threads)));
  launch("a step of the selective scan", vectors ? scan_step<Element, 4> : scan_step<Element, 1>, blocks, scan_threads,
         0, stream, arguments, lanes);
}

template void selective_scan_step_cuda<float>(const ScanShape&, const ScanCudaInputs<float>&, Rows<float>, float*,
                                              cudaStream_t);
template void selective_scan_step_cuda<__nv_bfloat16>(const ScanShape&, const ScanCudaInputs<__nv_bfloat16>&,
                                                      Rows<__nv_bfloat16>, float*, cudaStream_t);

}  // namespace recite::kernels
