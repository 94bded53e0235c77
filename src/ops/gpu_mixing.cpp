// The part of ops/gpu.h that mixes tokens: attention, the selective scan, the convolution.
#include <mutex>
#include <type_traits>
#include <unordered_map>

#include "kernels/attention/attention_cuda.h"
#include "kernels/causal_conv1d/causal_conv1d_cuda.h"
#include "kernels/rows/rows_cuda.h"
#include "kernels/selective_scan/selective_scan_cuda.h"
#include "ops/gpu.h"
#include "ops/gpu_tensors.h"
#include "ops/halves.h"

namespace recite::gpu {

namespace {

// One for each stream, whose work is one after the other. The first call on a stream makes it, which must not be within
// a capture that may fail: then it is never cleared. Never destroyed: at the program's end CUDA may be gone first.
unsigned* attention_items_taken() {
  static std::mutex mutex;
  static auto& counters = *new std::unordered_map<c10::cuda::CUDAStream, torch::Tensor>();
  const c10::cuda::CUDAStream stream = c10::cuda::getCurrentCUDAStream();
  const std::lock_guard lock(mutex);
  torch::Tensor& counter = counters[stream];
  if (!counter.defined()) counter = torch::zeros({1}, torch::TensorOptions(stream.device()).dtype(torch::kInt32));
  return reinterpret_cast<unsigned*>(counter.mutable_data_ptr<int32_t>());
}

// A (B, T, width) tensor whose rows are one stride apart, as it is or copied.
torch::Tensor by_rows(const torch::Tensor& tensor) {
  if (!tensor.defined()) return tensor;
  const bool rows = tensor.stride(2) == 1 && tensor.stride(0) == tensor.size(1) * tensor.stride(1);
  return rows ? tensor : tensor.contiguous();
}
template <class Element>
kernels::Rows<Element> rows(const torch::Tensor& tensor) {
  if (!tensor.defined()) return {};
  return {data<std::remove_const_t<Element>>(tensor), tensor.stride(1)};
}

ScanTensors laid_out(const ScanTensors& in) {
  return {by_rows(in.u), by_rows(in.delta), in.A.contiguous(), by_rows(in.B),
          by_rows(in.C), in.D.contiguous(), by_rows(in.z),     in.delta_bias.contiguous()};
}

kernels::ScanShape shape_of(const ScanTensors& in) { return {in.u.size(0), in.u.size(1), in.u.size(2), in.A.size(1)}; }

template <class Element>
kernels::ScanCudaInputs<Element> pointers(const ScanTensors& in, const torch::Tensor& initial) {
  return {rows<const Element>(in.u), rows<const Element>(in.delta),   read_only<float>(in.A),
          rows<const Element>(in.B), rows<const Element>(in.C),       read_only<float>(in.D),
          rows<const Element>(in.z), read_only<float>(in.delta_bias), read_only<float>(initial),
          /*softplus=*/true};
}

kernels::ConvShape shape_of(const torch::Tensor& x, const torch::Tensor& weight) {
  return {x.size(0), x.size(1), x.size(2), weight.size(1)};
}

kernels::AttentionShape shape_of(const torch::Tensor& qkv) {
  return {qkv.size(0), qkv.size(1), qkv.size(2), qkv.size(4)};
}

kernels::AttentionPosition<float> pointers(const AttentionPlaces& places) {
  return {.rotary = places.cos.defined() ? 2 * places.cos.size(1) : 0,
          .cos = read_only<float>(places.cos),
          .sin = read_only<float>(places.sin),
          .slope = read_only<float>(places.slope),
          .window = read_only<int64_t>(places.window),
          .twice_from = places.twice_from};
}

// (3 * H * head), float32, of dqkv (B, T, H, 3, head), contiguous.
torch::Tensor sums_over_tokens(const torch::Tensor& dqkv) {
  constexpr int64_t multiple = 8;
  const torch::Tensor rows = dqkv.flatten(0, 1).flatten(1);
  const kernels::ColumnSumsShape shape{rows.size(0), rows.size(1), rows.size(1)};
  if (rows.scalar_type() != torch::kBFloat16 || shape.columns % multiple != 0)
    return rows.sum(0, /*keepdim=*/false, torch::kFloat32);
  torch::Tensor sums = torch::empty({shape.columns}, rows.options().dtype(torch::kFloat32));
  const torch::Tensor work = workspace(kernels::column_sums_workspace_bytes(shape), rows);
  kernels::column_sums_cuda(shape, read_only<__nv_bfloat16>(rows), data<float>(sums), work.mutable_data_ptr(),
                            stream());
  return sums;
}

}  // namespace

torch::Tensor attention_forward(const torch::Tensor& qkv, const AttentionPlaces& places, const torch::Tensor& log_sum) {
  const auto [batch, time, heads, head] = shape_of(qkv);
  torch::Tensor out = torch::empty({batch, time, heads * head}, qkv.options());
  with_attention_element(qkv, [&](auto type) {
    using Element = decltype(type);
    kernels::attention_forward_cuda(shape_of(qkv), pointers(places), read_only<Element>(qkv), data<Element>(out),
                                    data<float>(log_sum), attention_items_taken(), stream());
  });
  return out;
}

AttentionGradients attention_backward(const torch::Tensor& qkv, const AttentionPlaces& places, const torch::Tensor& out,
                                      const torch::Tensor& log_sum, const torch::Tensor& dout, bool with_bias) {
  const kernels::AttentionShape shape = shape_of(qkv);
  AttentionGradients d{torch::empty_like(qkv), {}};
  torch::Tensor delta = torch::empty_like(log_sum), shares;
  with_attention_element(qkv, [&](auto type) {
    using Element = decltype(type);
    if (with_bias && kernels::gives_attention_gradient_sums<Element>(shape)) {
      d.bias = torch::empty({3 * shape.heads * shape.head}, log_sum.options());
      shares = torch::empty({kernels::attention_gradient_sums_workspace(shape)}, log_sum.options());
    }
    kernels::attention_backward_cuda(shape, pointers(places), read_only<Element>(qkv), read_only<Element>(out),
                                     read_only<float>(log_sum), read_only<Element>(dout), data<Element>(d.qkv),
                                     data<float>(delta), {data<float>(d.bias), data<float>(shares)},
                                     attention_items_taken(), stream());
  });
  if (with_bias && !d.bias.defined()) d.bias = sums_over_tokens(d.qkv);
  return d;
}

torch::Tensor attention_decode(const torch::Tensor& qkv, const AttentionPlaces& places, const torch::Tensor& length,
                               const AttentionCache& cache) {
  const kernels::AttentionDecodeShape shape{qkv.size(0), qkv.size(1), qkv.size(3), cache.keys.size(2)};
  torch::Tensor out = torch::empty({shape.batch, shape.heads * shape.head}, qkv.options());
  const torch::Tensor work =
      torch::empty({kernels::attention_decode_workspace(shape)}, qkv.options().dtype(torch::kFloat32));
  with_attention_element(qkv, [&](auto type) {
    using Element = decltype(type);
    kernels::attention_decode_cuda(shape, pointers(places), read_only<Element>(qkv), read_only<int32_t>(length),
                                   data<Element>(cache.keys), data<Element>(cache.values), data<Element>(out),
                                   data<float>(work), stream());
  });
  return out;
}

torch::Tensor new_scan_states(const ScanTensors& in) {
  const int64_t bytes = kernels::selective_scan_states_bytes(shape_of(in));
  return torch::empty({bytes / static_cast<int64_t>(sizeof(float))}, in.A.options());
}

torch::Tensor scan_forward(const ScanTensors& given, const torch::Tensor& initial, const torch::Tensor& states,
                           const torch::Tensor& final) {
  const ScanTensors in = laid_out(given);
  const kernels::ScanShape shape = shape_of(in);
  torch::Tensor y = contiguous_like(in.u);
  const torch::Tensor work = workspace(kernels::selective_scan_forward_workspace_bytes(shape), in.u);
  with_element(in.u, [&](auto type) {
    using Element = decltype(type);
    kernels::selective_scan_forward_cuda(shape, pointers<Element>(in, initial), rows<Element>(y), data<float>(states),
                                         data<float>(final), work.mutable_data_ptr(), stream());
  });
  return y;
}

torch::Tensor scan_step(const ScanTensors& given, const torch::Tensor& state) {
  const ScanTensors in = laid_out(given);
  torch::Tensor y = contiguous_like(in.u);
  with_element(in.u, [&](auto type) {
    using Element = decltype(type);
    kernels::selective_scan_step_cuda(shape_of(in), pointers<Element>(in, {}), rows<Element>(y), data<float>(state),
                                      stream());
  });
  return y;
}

ScanTensors scan_backward(const ScanTensors& given, const torch::Tensor& states, const torch::Tensor& dy) {
  const ScanTensors in = laid_out(given);
  const kernels::ScanShape shape = shape_of(in);
  const ScanTensors d{contiguous_like(in.u),
                      contiguous_like(in.delta),
                      contiguous_like(in.A),
                      contiguous_like(in.B),
                      contiguous_like(in.C),
                      contiguous_like(in.D),
                      in.z.defined() ? half_like(in.z) : in.z,
                      contiguous_like(in.delta_bias)};
  const torch::Tensor work = workspace(kernels::selective_scan_backward_workspace_bytes(shape), in.u);
  const torch::Tensor laid_out_dy = by_rows(dy);
  with_element(in.u, [&](auto type) {
    using Element = decltype(type);
    const kernels::ScanCudaGradients<Element> gradients{rows<Element>(d.u), rows<Element>(d.delta),   data<float>(d.A),
                                                        rows<Element>(d.B), rows<Element>(d.C),       data<float>(d.D),
                                                        rows<Element>(d.z), data<float>(d.delta_bias)};
    kernels::selective_scan_backward_cuda(shape, pointers<Element>(in, {}), read_only<float>(states),
                                          rows<const Element>(laid_out_dy), gradients, work.mutable_data_ptr(),
                                          stream());
  });
  return d;
}

torch::Tensor conv_forward(const torch::Tensor& given, const torch::Tensor& weight, const torch::Tensor& bias) {
  const torch::Tensor x = by_rows(given);
  torch::Tensor y = contiguous_like(x);
  with_element(x, [&](auto type) {
    using Element = decltype(type);
    kernels::causal_conv1d_forward_cuda<Element>(shape_of(x, weight), rows<const Element>(x), read_only<float>(weight),
                                                 read_only<float>(bias), /*initial=*/nullptr, rows<Element>(y),
                                                 stream());
  });
  return y;
}

torch::Tensor conv_step(const torch::Tensor& given, const torch::Tensor& weight, const torch::Tensor& bias,
                        const torch::Tensor& window) {
  const torch::Tensor x = by_rows(given);
  torch::Tensor y = contiguous_like(x);
  with_element(x, [&](auto type) {
    using Element = decltype(type);
    kernels::causal_conv1d_step_cuda(shape_of(x, weight), rows<const Element>(x), read_only<float>(weight),
                                     read_only<float>(bias), data<Element>(window), rows<Element>(y), stream());
  });
  return y;
}

void conv_backward(const torch::Tensor& given, const torch::Tensor& weight, const torch::Tensor& bias,
                   const torch::Tensor& dy, const ConvGradients& d) {
  const torch::Tensor x = by_rows(given), laid_out_dy = by_rows(dy);
  const torch::Tensor work = workspace(kernels::causal_conv1d_backward_workspace_bytes(shape_of(x, weight)), x);
  with_element(x, [&](auto type) {
    using Element = decltype(type);
    kernels::causal_conv1d_backward_cuda(shape_of(x, weight), rows<const Element>(x), read_only<float>(weight),
                                         read_only<float>(bias), rows<const Element>(laid_out_dy), rows<Element>(d.x),
                                         data<float>(d.weight), data<float>(d.bias), work.mutable_data_ptr(), stream());
  });
}

}  // namespace recite::gpu
