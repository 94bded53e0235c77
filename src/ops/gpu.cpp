#include "ops/gpu.h"

#include <c10/cuda/CUDAStream.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <mutex>
#include <unordered_map>

#include "kernels/adamw/adamw_cuda.h"
#include "kernels/attention/attention_cuda.h"
#include "kernels/causal_conv1d/causal_conv1d_cuda.h"
#include "kernels/dropout/dropout_cuda.h"
#include "kernels/gelu/gelu_cuda.h"
#include "kernels/product/product_cuda.h"
#include "kernels/product/skinny_product_cuda.h"
#include "kernels/residual_norm/residual_norm_cuda.h"
#include "kernels/rows/rows_cuda.h"
#include "kernels/selective_scan/selective_scan_cuda.h"
#include "ops/halves.h"

namespace recite::gpu {

namespace {

template <class Value>
struct TorchTypeOf {
  using type = Value;
};
template <>
struct TorchTypeOf<__nv_bfloat16> {
  using type = at::BFloat16;
};
template <>
struct TorchTypeOf<__half> {
  using type = at::Half;
};

template <class Value>
Value* data(const torch::Tensor& tensor) {
  using TorchType = typename TorchTypeOf<Value>::type;
  return tensor.defined() ? reinterpret_cast<Value*>(tensor.mutable_data_ptr<TorchType>()) : nullptr;
}

template <class Value>
const Value* read_only(const torch::Tensor& tensor) {
  using TorchType = typename TorchTypeOf<Value>::type;
  return tensor.defined() ? reinterpret_cast<const Value*>(tensor.const_data_ptr<TorchType>()) : nullptr;
}

// Calls body(Element{}) with the type of the tensor's elements.
template <class Body>
void with_element(const torch::Tensor& tensor, const Body& body) {
  if (tensor.scalar_type() == torch::kBFloat16) return body(__nv_bfloat16{});
  TORCH_CHECK(tensor.scalar_type() == torch::kFloat32, "no GPU kernel takes elements of type ", tensor.scalar_type());
  body(float{});
}

// The same, of attention's kernels, which take float16, too.
template <class Body>
void with_attention_element(const torch::Tensor& tensor, const Body& body) {
  if (tensor.scalar_type() == torch::kFloat16) return body(__half{});
  with_element(tensor, body);
}

cudaStream_t stream() { return c10::cuda::getCurrentCUDAStream(); }

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

torch::Tensor workspace(int64_t bytes, const torch::Tensor& like) {
  return torch::empty({bytes}, like.options().dtype(torch::kUInt8));
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

template <class Element>
kernels::ResidualNormInputs<Element> pointers(const NormInputs& in) {
  return {read_only<float>(in.x),
          {read_only<Element>(in.branches[0]), read_only<Element>(in.branches[1])},
          read_only<float>(in.bias),
          {read_only<float>(in.weight[0]), read_only<float>(in.weight[1])},
          {read_only<float>(in.offset[0]), read_only<float>(in.offset[1])}};
}

template <class Element>
kernels::ResidualNormOutputs<Element> pointers(const NormOutputs& out) {
  return {data<float>(out.sum),
          {data<Element>(out.y[0]), data<Element>(out.y[1])},
          data<float>(out.mean),
          data<float>(out.rstd)};
}

kernels::GeluShape gelu_shape(const torch::Tensor& u) { return {u.numel() / u.size(-1), u.size(-1)}; }

torch::Tensor contiguous_like(const torch::Tensor& tensor) {
  return tensor.defined() ? torch::empty(tensor.sizes(), tensor.options()) : tensor;
}

// Undefined biases are absent.
torch::Tensor skinny(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                     const torch::Tensor& gelu_bias) {
  torch::Tensor y = torch::empty({x.size(0), weight.size(0)}, x.options());
  with_attention_element(x, [&](auto type) {
    using Element = decltype(type);
    if constexpr (sizeof(Element) == 2)
      kernels::skinny_product_cuda<Element>({.rows = x.size(0),
                                             .columns = weight.size(0),
                                             .inner = x.size(1),
                                             .x_stride = x.stride(0),
                                             .y_stride = y.stride(0)},
                                            {.x = read_only<Element>(x),
                                             .weight = read_only<Element>(weight),
                                             .bias = read_only<Element>(bias),
                                             .gelu_bias = read_only<float>(gelu_bias)},
                                            data<Element>(y), stream());
  });
  return y;
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

torch::Tensor attention_backward(const torch::Tensor& qkv, const AttentionPlaces& places, const torch::Tensor& out,
                                 const torch::Tensor& log_sum, const torch::Tensor& dout) {
  torch::Tensor dqkv = torch::empty_like(qkv), delta = torch::empty_like(log_sum);
  with_attention_element(qkv, [&](auto type) {
    using Element = decltype(type);
    kernels::attention_backward_cuda(shape_of(qkv), pointers(places), read_only<Element>(qkv), read_only<Element>(out),
                                     read_only<float>(log_sum), read_only<Element>(dout), data<Element>(dqkv),
                                     data<float>(delta), attention_items_taken(), stream());
  });
  return dqkv;
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

void norm_forward(const kernels::ResidualNormShape& shape, const NormInputs& in, const NormOutputs& out) {
  with_element(out.y[0], [&](auto type) {
    using Element = decltype(type);
    kernels::residual_norm_forward_cuda(shape, pointers<Element>(in), pointers<Element>(out), stream());
  });
}

void norm_backward(const kernels::ResidualNormShape& shape, const NormInputs& in, const NormOutputs& out,
                   const torch::Tensor& dsum, const torch::Tensor (&dy)[2], const NormGradients& gradients) {
  const torch::Tensor work = workspace(kernels::residual_norm_backward_workspace_bytes(shape), dy[0]);
  with_element(dy[0], [&](auto type) {
    using Element = decltype(type);
    const Element* const of_y[2] = {read_only<Element>(dy[0]), read_only<Element>(dy[1])};
    const kernels::ResidualNormGradients<Element> to{
        data<float>(gradients.x),
        data<Element>(gradients.branch),
        data<float>(gradients.bias),
        {data<float>(gradients.weight[0]), data<float>(gradients.weight[1])},
        {data<float>(gradients.offset[0]), data<float>(gradients.offset[1])}};
    kernels::residual_norm_backward_cuda(shape, pointers<Element>(in), pointers<Element>(out), read_only<float>(dsum),
                                         of_y, to, work.mutable_data_ptr(), stream());
  });
}

torch::Tensor bias_gelu_forward(const torch::Tensor& u, const torch::Tensor& bias) {
  torch::Tensor y = torch::empty_like(u);
  with_element(u, [&](auto type) {
    using Element = decltype(type);
    kernels::bias_gelu_forward_cuda(gelu_shape(u), read_only<Element>(u), read_only<float>(bias), data<Element>(y),
                                    stream());
  });
  return y;
}

GeluGradients bias_gelu_backward(const torch::Tensor& u, const torch::Tensor& bias, const torch::Tensor& dy) {
  const GeluGradients d{torch::empty_like(u), torch::empty_like(bias)};
  const torch::Tensor work = workspace(kernels::bias_gelu_backward_workspace_bytes(gelu_shape(u)), u);
  with_element(u, [&](auto type) {
    using Element = decltype(type);
    kernels::bias_gelu_backward_cuda(gelu_shape(u), read_only<Element>(u), read_only<float>(bias),
                                     read_only<Element>(dy), data<Element>(d.u), data<float>(d.bias),
                                     work.mutable_data_ptr(), stream());
  });
  return d;
}

torch::Tensor product(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias) {
  torch::Tensor y = torch::empty({x.size(0), weight.size(0)}, x.options());
  kernels::product_cuda({.rows = x.size(0),
                         .columns = weight.size(0),
                         .inner = x.size(1),
                         .b_transposed = true,
                         .a_stride = x.stride(0),
                         .b_stride = weight.stride(0),
                         .c_stride = y.stride(0)},
                        {read_only<__nv_bfloat16>(x), read_only<__nv_bfloat16>(weight), read_only<__nv_bfloat16>(bias)},
                        data<__nv_bfloat16>(y), stream());
  return y;
}

torch::Tensor product_input_gradient(const torch::Tensor& dy, const torch::Tensor& weight,
                                     const torch::Tensor& addend) {
  torch::Tensor dx = torch::empty({dy.size(0), weight.size(1)}, dy.options());
  kernels::product_cuda({.rows = dy.size(0),
                         .columns = weight.size(1),
                         .inner = dy.size(1),
                         .a_stride = dy.stride(0),
                         .b_stride = weight.stride(0),
                         .c_stride = dx.stride(0)},
                        {.a = read_only<__nv_bfloat16>(dy),
                         .b = read_only<__nv_bfloat16>(weight),
                         .addend = read_only<__nv_bfloat16>(addend)},
                        data<__nv_bfloat16>(dx), stream());
  return dx;
}

void add_product_weight_gradient(const torch::Tensor& dy, const torch::Tensor& x, const torch::Tensor& gradient) {
  kernels::add_product_cuda({.rows = dy.size(1),
                             .columns = x.size(1),
                             .inner = dy.size(0),
                             .a_transposed = true,
                             .a_stride = dy.stride(0),
                             .b_stride = x.stride(0),
                             .c_stride = gradient.stride(0)},
                            read_only<__nv_bfloat16>(dy), read_only<__nv_bfloat16>(x), data<float>(gradient), stream());
}

bool takes_skinny_product(const torch::Tensor& x, const torch::Tensor& weight) {
  constexpr int64_t multiple = 8, bytes = 16, apart = int64_t{1} << 27, numbers = int64_t{1} << 30;
  const auto begins_well = [](const torch::Tensor& matrix) {
    return reinterpret_cast<uintptr_t>(matrix.const_data_ptr()) % bytes == 0;
  };
  const bool halves = x.scalar_type() == torch::kBFloat16 || x.scalar_type() == torch::kFloat16;
  return takes(x) && halves && weight.scalar_type() == x.scalar_type() && x.size(0) >= 1 &&
         x.size(0) <= kernels::most_skinny_rows && x.stride(0) < apart && weight.numel() < numbers &&
         x.size(1) % multiple == 0 && x.stride(0) % multiple == 0 && weight.is_contiguous() && begins_well(x) &&
         begins_well(weight);
}

torch::Tensor skinny_product(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias) {
  return skinny(x, weight, bias, {});
}

torch::Tensor skinny_product_gelu(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& gelu_bias) {
  return skinny(x, weight, {}, gelu_bias);
}

torch::Tensor column_sums(const torch::Tensor& given) {
  constexpr int64_t multiple = 8;
  const torch::Tensor dy = given.stride(0) % multiple == 0 ? given : given.contiguous();
  const kernels::ColumnSumsShape shape{dy.size(0), dy.size(1), dy.stride(0)};
  torch::Tensor sums = torch::empty({dy.size(1)}, dy.options().dtype(torch::kFloat32));
  const torch::Tensor work = workspace(kernels::column_sums_workspace_bytes(shape), dy);
  kernels::column_sums_cuda(shape, read_only<__nv_bfloat16>(dy), data<float>(sums), work.mutable_data_ptr(), stream());
  return sums;
}

torch::Tensor put_rows(const torch::Tensor& rows, const torch::Tensor& at, torch::IntArrayRef shape) {
  torch::Tensor to = torch::empty(shape, rows.options());
  const int64_t width = shape.back();
  with_element(rows, [&](auto type) {
    using Element = decltype(type);
    kernels::put_rows_cuda<Element>({.rows = to.numel() / width, .width = width, .count = at.numel()},
                                    read_only<int64_t>(at), read_only<Element>(rows), data<Element>(to), stream());
  });
  return to;
}

bool takes_embedding(const torch::Tensor& dy, int64_t vocabulary) {
  return takes(dy) && vocabulary <= kernels::largest_embedding_vocabulary;
}

torch::Tensor embedding_gradient(const torch::Tensor& dy, const torch::Tensor& tokens, int64_t vocabulary) {
  const kernels::EmbeddingShape shape{tokens.numel(), vocabulary, dy.size(-1)};
  torch::Tensor sums = torch::empty({vocabulary, dy.size(-1)}, dy.options().dtype(torch::kFloat32));
  const torch::Tensor work = workspace(kernels::embedding_gradient_workspace_bytes(shape), dy);
  with_element(dy, [&](auto type) {
    using Element = decltype(type);
    kernels::embedding_gradient_cuda(shape, read_only<int64_t>(tokens), read_only<Element>(dy), data<float>(sums),
                                     work.mutable_data_ptr(), stream());
  });
  return sums.to(dy.scalar_type());
}

torch::Tensor dropout_mask(const torch::Tensor& places, int64_t time, int64_t width, const DropoutNumbers& numbers,
                           torch::TensorOptions options) {
  torch::Tensor mask = torch::empty({places.size(0), time, width}, options);
  with_element(mask, [&](auto type) {
    using Element = decltype(type);
    kernels::dropout_mask_cuda<Element>({.batch = places.size(0),
                                         .time = time,
                                         .width = width,
                                         .key = numbers.key,
                                         .layer = static_cast<uint64_t>(numbers.layer),
                                         .places = read_only<int64_t>(places),
                                         .dropped_below = numbers.dropped_below,
                                         .kept = numbers.kept},
                                        data<Element>(mask), stream());
  });
  return mask;
}

torch::Tensor squared_norm(const torch::Tensor& numbers) {
  torch::Tensor sum = torch::empty({}, numbers.options().dtype(torch::kFloat64));
  const torch::Tensor work = workspace(kernels::squared_norm_workspace_bytes(numbers.numel()), numbers);
  kernels::squared_norm_cuda(read_only<float>(numbers), numbers.numel(), data<double>(sum), work.mutable_data_ptr(),
                             stream());
  return sum;
}

void adamw(const AdamWTensors& tensors, const AdamWScalars& step, const torch::Tensor& squared_norm) {
  const kernels::AdamWStep of{step.learning_rate, step.weight_decay, step.t,     step.divisor,
                              step.limit,         step.beta1,        step.beta2, step.epsilon};
  const kernels::AdamWBuffers buffers{data<float>(tensors.weights), data<float>(tensors.gradients),
                                      data<float>(tensors.first_moments), data<float>(tensors.second_moments),
                                      data<__nv_bfloat16>(tensors.copies)};
  kernels::adamw_cuda(of, buffers, tensors.weights.numel(), read_only<double>(squared_norm),
                      /*clear_gradients=*/true, stream());
}

}  // namespace recite::gpu
