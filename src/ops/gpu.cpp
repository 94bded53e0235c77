#include "ops/gpu.h"

#include "kernels/adamw/adamw_cuda.h"
#include "kernels/dropout/dropout_cuda.h"
#include "kernels/gelu/gelu_cuda.h"
#include "kernels/product/product_cuda.h"
#include "kernels/product/skinny_product_cuda.h"
#include "kernels/residual_norm/residual_norm_cuda.h"
#include "kernels/rows/rows_cuda.h"
#include "ops/gpu_tensors.h"

namespace recite::gpu {

namespace {

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

kernels::SkinnyProductShape skinny_shape(const torch::Tensor& x, const torch::Tensor& weight) {
  return {.rows = x.size(0),
          .columns = weight.size(0),
          .inner = x.size(1),
          .x_stride = x.stride(0),
          .y_stride = weight.size(0)};
}

}  // namespace

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

void product_weight_gradient(const torch::Tensor& dy, const torch::Tensor& x, const torch::Tensor& gradient,
                             bool adds) {
  kernels::product_cuda({.rows = dy.size(1),
                         .columns = x.size(1),
                         .inner = dy.size(0),
                         .a_transposed = true,
                         .a_stride = dy.stride(0),
                         .b_stride = x.stride(0),
                         .c_stride = gradient.stride(0)},
                        read_only<__nv_bfloat16>(dy), read_only<__nv_bfloat16>(x), data<float>(gradient), adds,
                        stream());
}

bool takes_skinny_product(const torch::Tensor& x, const torch::Tensor& weight) {
  const bool halves = x.scalar_type() == torch::kBFloat16 || x.scalar_type() == torch::kFloat16;
  return takes(x) && halves && weight.scalar_type() == x.scalar_type() && weight.is_contiguous() &&
         kernels::takes_skinny_product(skinny_shape(x, weight), x.const_data_ptr(), weight.const_data_ptr());
}

std::vector<torch::Tensor> skinny_products(const std::vector<PlainProduct>& products) {
  std::vector<torch::Tensor> made;
  for (const PlainProduct& of : products)
    made.push_back(torch::empty({of.x.size(0), of.weight.size(0)}, of.x.options()));
  with_attention_element(made.front(), [&](auto type) {
    using Element = decltype(type);
    if constexpr (sizeof(Element) == 2) {
      std::vector<kernels::SkinnyProduct<Element>> all;
      for (size_t p = 0; p < products.size(); ++p) {
        const PlainProduct& of = products[p];
        all.push_back({.shape = skinny_shape(of.x, of.weight),
                       .x = read_only<Element>(of.x),
                       .weight = read_only<Element>(of.weight),
                       .bias = read_only<Element>(of.bias),
                       .gelu_bias = read_only<float>(of.gelu_bias),
                       .y = data<Element>(made[p])});
      }
      kernels::skinny_products_cuda(all, stream());
    }
  });
  return made;
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
  const kernels::AdamWBuffers buffers{data<float>(tensors.weights), read_only<float>(tensors.gradients),
                                      data<float>(tensors.first_moments), data<float>(tensors.second_moments),
                                      data<__nv_bfloat16>(tensors.copies)};
  kernels::adamw_cuda(of, buffers, tensors.weights.numel(), read_only<double>(squared_norm), stream());
}

}  // namespace recite::gpu
