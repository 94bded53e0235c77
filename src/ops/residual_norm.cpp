#include "ops/residual_norm.h"

#include <array>
#include <optional>

#include "kernels/residual_norm/residual_norm.h"
#include "ops/dispatch.h"
#include "ops/gpu.h"

namespace recite {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;
using Optional = std::optional<torch::Tensor>;

using Inputs = gpu::NormInputs;
using Outputs = gpu::NormOutputs;

kernels::ResidualNormShape shape_of(const Inputs& in, double epsilon) {
  const int64_t columns = in.x.size(-1);
  return {in.x.numel() / columns, columns, in.weight[1].defined() ? 2 : 1, in.offset[0].defined(), epsilon};
}

template <class Element>
kernels::ResidualNormInputs<Element> pointers(const Inputs& in) {
  using Real = kernels::Sums<Element>;
  return {data<Real>(in.x),
          {data<Element>(in.branches[0]), data<Element>(in.branches[1])},
          data<Real>(in.bias),
          {data<Real>(in.weight[0]), data<Real>(in.weight[1])},
          {data<Real>(in.offset[0]), data<Real>(in.offset[1])}};
}

template <class Element>
kernels::ResidualNormOutputs<Element> pointers(const Outputs& out) {
  using Real = kernels::Sums<Element>;
  return {mutable_data<Real>(out.sum),
          {mutable_data<Element>(out.y[0]), mutable_data<Element>(out.y[1])},
          mutable_data<Real>(out.mean),
          mutable_data<Real>(out.rstd)};
}

bool want_gradient(const Inputs& in) {
  if (!torch::GradMode::is_enabled()) return false;
  for (const torch::Tensor& tensor :
       {in.x, in.branches[0], in.branches[1], in.bias, in.weight[0], in.weight[1], in.offset[0], in.offset[1]})
    if (tensor.defined() && tensor.requires_grad()) return true;
  return false;
}

Outputs forward_kernel(const Inputs& in, double epsilon, torch::ScalarType element) {
  const kernels::ResidualNormShape shape = shape_of(in, epsilon);
  Outputs out;
  out.sum = torch::empty_like(in.x);
  for (int i = 0; i < shape.norms; ++i) out.y[i] = torch::empty_like(in.x, in.x.options().dtype(element));
  out.mean = torch::empty({shape.rows}, in.x.options());
  out.rstd = torch::empty({shape.rows}, in.x.options());
  if constexpr (gpu::built) {
    if (in.x.is_cuda()) {
      gpu::norm_forward(shape, in, out);
      return out;
    }
  }
  with_element_type(out.y[0], [&](auto type) {
    using Element = decltype(type);
    kernels::residual_norm_forward_cpu(shape, pointers<Element>(in), pointers<Element>(out));
  });
  return out;
}

void backward_kernel(const kernels::ResidualNormShape& shape, const Inputs& in, const Outputs& out,
                     const torch::Tensor& dsum, const torch::Tensor (&dy)[2], const gpu::NormGradients& d) {
  if constexpr (gpu::built) {
    if (in.x.is_cuda()) return gpu::norm_backward(shape, in, out, dsum, dy, d);
  }
  with_element_type(dy[0], [&](auto type) {
    using Element = decltype(type);
    using Real = kernels::Sums<Element>;
    const Element* const of_y[2] = {data<Element>(dy[0]), data<Element>(dy[1])};
    const kernels::ResidualNormGradients<Element> to{
        mutable_data<Real>(d.x),
        mutable_data<Element>(d.branch),
        mutable_data<Real>(d.bias),
        {mutable_data<Real>(d.weight[0]), mutable_data<Real>(d.weight[1])},
        {mutable_data<Real>(d.offset[0]), mutable_data<Real>(d.offset[1])}};
    kernels::residual_norm_backward_cpu<Element>(shape, pointers<Element>(in), pointers<Element>(out), data<Real>(dsum),
                                                 of_y, to);
  });
}

tensor_list list(const Outputs& out) {
  return out.y[1].defined() ? tensor_list{out.sum, out.y[0], out.y[1]} : tensor_list{out.sum, out.y[0]};
}

torch::Tensor like(const torch::Tensor& tensor) { return tensor.defined() ? torch::empty_like(tensor) : tensor; }

class ResidualNormFunction : public torch::autograd::Function<ResidualNormFunction> {
 public:
  static tensor_list forward(AutogradContext* context, torch::Tensor x, Optional branch0, Optional branch1,
                             Optional bias, torch::Tensor weight0, Optional offset0, Optional weight1, Optional offset1,
                             double epsilon, torch::ScalarType element) {
    const auto or_none = [](const Optional& tensor) { return tensor.value_or(torch::Tensor()); };
    const Inputs in{x,
                    {or_none(branch0), or_none(branch1)},
                    or_none(bias),
                    {weight0, or_none(weight1)},
                    {or_none(offset0), or_none(offset1)}};
    const Outputs out = forward_kernel(in, epsilon, element);
    context->save_for_backward(
        {out.sum, out.mean, out.rstd, in.bias, weight0, in.weight[1], in.offset[0], in.offset[1]});
    context->saved_data["epsilon"] = epsilon;
    context->saved_data["branches"] = int64_t{in.branches[0].defined()} + int64_t{in.branches[1].defined()};
    context->set_materialize_grads(false);  // the stream after the last norm is not read
    return list(out);
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const tensor_list saved = context->get_saved_variables();
    const Inputs in{saved[0], {}, saved[3], {saved[4], saved[5]}, {saved[6], saved[7]}};
    const Outputs out{saved[0], {}, saved[1], saved[2]};
    const auto shape = shape_of(in, context->saved_data["epsilon"].toDouble());
    const int64_t branches = context->saved_data["branches"].toInt();
    const torch::Tensor dsum = gradients[0].defined() ? gradients[0].contiguous() : gradients[0];
    torch::Tensor dy[2];
    for (int i = 0; i < shape.norms; ++i) dy[i] = gradients[1 + i].contiguous();

    gpu::NormGradients d{torch::empty_like(in.x),
                         {},
                         like(in.bias),
                         {like(in.weight[0]), like(in.weight[1])},
                         {like(in.offset[0]), like(in.offset[1])}};
    const bool converted = branches > 0 && dy[0].scalar_type() != in.x.scalar_type();
    if (converted) d.branch = torch::empty_like(dy[0]);
    backward_kernel(shape, in, out, dsum, dy, d);
    if (!converted) d.branch = d.x;
    const torch::Tensor none;
    return {d.x,
            branches > 0 ? d.branch : none,
            branches > 1 ? d.branch : none,
            d.bias,
            d.weight[0],
            d.offset[0],
            d.weight[1],
            d.offset[1],
            none,
            none};
  }
};

Inputs contiguous(const ResidualInputs& in, const std::vector<NormWeights>& norms) {
  const auto made = [](const torch::Tensor& tensor) { return tensor.defined() ? tensor.contiguous() : tensor; };
  Inputs to{made(in.stream), {}, made(in.bias), {}, {}};
  for (size_t b = 0; b < in.branches.size(); ++b) to.branches[b] = made(in.branches[b]);
  for (size_t i = 0; i < norms.size(); ++i) {
    to.weight[i] = made(norms[i].weight);
    to.offset[i] = made(norms[i].offset);
  }
  return to;
}

ResidualInputs widened(ResidualInputs in) {
  for (torch::Tensor& branch : in.branches) branch = branch.to(in.stream.scalar_type());
  return in;
}

Residual rounded(Residual out, torch::ScalarType element) {
  for (torch::Tensor& norm : out.norms) norm = norm.to(element);
  return out;
}

Residual residual_of(const tensor_list& outputs) { return {outputs[0], {outputs.begin() + 1, outputs.end()}}; }

}  // namespace

Residual residual_norm(const ResidualInputs& in, const std::vector<NormWeights>& norms, double epsilon,
                       torch::ScalarType element) {
  TORCH_CHECK(in.branches.size() <= 2 && (norms.size() == 1 || norms.size() == 2),
              "the residual stream has at most two branches, and one or two norms");
  if (lacks_kernels(element)) return rounded(residual_norm(widened(in), norms, epsilon, torch::kFloat32), element);
  if (!in.stream.is_cpu() && !gpu::takes(in.stream)) return composed_residual_norm(in, norms, epsilon, element);
  const Inputs c = contiguous(in, norms);
  if (!want_gradient(c)) return residual_of(list(forward_kernel(c, epsilon, element)));
  const auto optional = [](const torch::Tensor& tensor) { return tensor.defined() ? Optional(tensor) : std::nullopt; };
  return residual_of(ResidualNormFunction::apply(c.x, optional(c.branches[0]), optional(c.branches[1]),
                                                 optional(c.bias), c.weight[0], optional(c.offset[0]),
                                                 optional(c.weight[1]), optional(c.offset[1]), epsilon, element));
}

Residual composed_residual_norm(const ResidualInputs& in, const std::vector<NormWeights>& norms, double epsilon,
                                torch::ScalarType element) {
  Residual out{in.stream, {}};
  for (const torch::Tensor& branch : in.branches) out.stream = out.stream + branch;
  if (in.bias.defined()) out.stream = out.stream + in.bias;
  const torch::IntArrayRef columns(out.stream.sizes().end() - 1, 1);
  for (const NormWeights& norm : norms) {
    const torch::Tensor y = norm.offset.defined()
                                ? torch::layer_norm(out.stream, columns, norm.weight, norm.offset, epsilon)
                                : torch::rms_norm(out.stream, columns, norm.weight, epsilon);
    out.norms.push_back(y.to(element));
  }
  return out;
}

}  // namespace recite
