#include "ops/selective_scan.h"

#include "kernels/selective_scan/selective_scan.h"
#include "ops/dispatch.h"
#include "ops/gpu.h"

namespace recite {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

kernels::ScanShape shape_of(const ScanTensors& in) { return {in.u.size(0), in.u.size(1), in.u.size(2), in.A.size(1)}; }

ScanTensors contiguous(const ScanTensors& in) {
  return {in.u.contiguous(),
          in.delta.contiguous(),
          in.A.contiguous(),
          in.B.contiguous(),
          in.C.contiguous(),
          in.D.contiguous(),
          in.z.defined() ? in.z.contiguous() : in.z,
          in.delta_bias.contiguous()};
}

template <class Real>
kernels::ScanInputs<Real> pointers(const ScanTensors& in, const torch::Tensor& initial) {
  return {data<Real>(in.u), data<Real>(in.delta), data<Real>(in.A),          data<Real>(in.B),   data<Real>(in.C),
          data<Real>(in.D), data<Real>(in.z),     data<Real>(in.delta_bias), data<Real>(initial)};
}

// Undefined `initial`, `states`, `final`: zeros, not kept, not wanted.
torch::Tensor forward_cpu(const ScanTensors& in, const torch::Tensor& initial, const torch::Tensor& states,
                          const torch::Tensor& final) {
  torch::Tensor y = torch::empty_like(in.u);
  AT_DISPATCH_FLOATING_TYPES(in.u.scalar_type(), "selective_scan", [&] {
    kernels::selective_scan_forward_cpu<scalar_t>(shape_of(in), pointers<scalar_t>(in, initial),
                                                  mutable_data<scalar_t>(y), mutable_data<scalar_t>(states),
                                                  mutable_data<scalar_t>(final));
  });
  return y;
}

// One step: `state` becomes the state after it.
torch::Tensor step_cpu(const ScanTensors& in, const torch::Tensor& state) {
  torch::Tensor y = torch::empty_like(in.u);
  AT_DISPATCH_FLOATING_TYPES(in.u.scalar_type(), "selective_scan_step", [&] {
    kernels::selective_scan_step_cpu<scalar_t>(shape_of(in), pointers<scalar_t>(in, {}), mutable_data<scalar_t>(y),
                                               mutable_data<scalar_t>(state));
  });
  return y;
}

ScanTensors backward_cpu(const ScanTensors& in, const torch::Tensor& states, const torch::Tensor& dy) {
  ScanTensors d{torch::empty_like(in.u),
                torch::empty_like(in.delta),
                torch::empty_like(in.A),
                torch::empty_like(in.B),
                torch::empty_like(in.C),
                torch::empty_like(in.D),
                {},
                torch::empty_like(in.delta_bias)};
  if (in.z.defined()) d.z = torch::empty_like(in.z);
  AT_DISPATCH_FLOATING_TYPES(in.u.scalar_type(), "selective_scan_backward", [&] {
    const kernels::ScanGradients<scalar_t> gradients{mutable_data<scalar_t>(d.u), mutable_data<scalar_t>(d.delta),
                                                     mutable_data<scalar_t>(d.A), mutable_data<scalar_t>(d.B),
                                                     mutable_data<scalar_t>(d.C), mutable_data<scalar_t>(d.D),
                                                     mutable_data<scalar_t>(d.z), mutable_data<scalar_t>(d.delta_bias)};
    kernels::selective_scan_backward_cpu<scalar_t>(shape_of(in), pointers<scalar_t>(in, {}), data<scalar_t>(states),
                                                   data<scalar_t>(dy), gradients);
  });
  return d;
}

torch::Tensor new_states(const ScanTensors& in) {
  if constexpr (gpu::built) {
    if (in.u.is_cuda()) return gpu::new_scan_states(in);
  }
  const auto [batch, time, channels, state] = shape_of(in);
  return torch::empty({batch, kernels::scan_checkpoints(time), state, channels}, in.u.options());
}

torch::Tensor forward_kernel(const ScanTensors& in, const torch::Tensor& initial, const torch::Tensor& states,
                             const torch::Tensor& final) {
  if constexpr (gpu::built) {
    if (in.u.is_cuda()) return gpu::scan_forward(in, initial, states, final);
  }
  return forward_cpu(in, initial, states, final);
}

ScanTensors backward_kernel(const ScanTensors& in, const torch::Tensor& states, const torch::Tensor& dy) {
  if constexpr (gpu::built) {
    if (in.u.is_cuda()) return gpu::scan_backward(in, states, dy);
  }
  return backward_cpu(in, states, dy);
}

torch::Tensor step_kernel(const ScanTensors& in, const torch::Tensor& state) {
  if constexpr (gpu::built) {
    if (in.u.is_cuda()) return gpu::scan_step(in, state);
  }
  return step_cpu(in, state);
}

class ScanFunction : public torch::autograd::Function<ScanFunction> {
 public:
  static torch::Tensor forward(AutogradContext* context, torch::Tensor u, torch::Tensor delta, torch::Tensor A,
                               torch::Tensor B, torch::Tensor C, torch::Tensor D, std::optional<torch::Tensor> gate,
                               torch::Tensor delta_bias) {
    const torch::Tensor z = gate.value_or(torch::Tensor());
    const ScanTensors in{u, delta, A, B, C, D, z, delta_bias};
    const torch::Tensor states = new_states(in);
    context->save_for_backward({u, delta, A, B, C, D, z, delta_bias, states});
    return forward_kernel(in, {}, states, {});
  }

  static tensor_list backward(AutogradContext* context, tensor_list dy) {
    const tensor_list saved = context->get_saved_variables();
    const ScanTensors in{saved[0], saved[1], saved[2], saved[3], saved[4], saved[5], saved[6], saved[7]};
    const ScanTensors d = backward_kernel(in, saved[8], dy[0].contiguous());
    return {d.u, d.delta, d.A, d.B, d.C, d.D, d.z, d.delta_bias};
  }
};

bool wants_gradient(const ScanTensors& in) {
  if (!torch::GradMode::is_enabled()) return false;
  for (const torch::Tensor& tensor : {in.u, in.delta, in.A, in.B, in.C, in.D, in.z, in.delta_bias})
    if (tensor.defined() && tensor.requires_grad()) return true;
  return false;
}

torch::Tensor zero_state(const ScanTensors& in) {
  return torch::zeros({in.u.size(0), in.A.size(0), in.A.size(1)}, in.A.options());
}

// With elements of the type of the others.
ScanTensors converted(const ScanTensors& in) {
  const auto type = in.A.scalar_type();
  return {
      in.u.to(type), in.delta.to(type), in.A, in.B.to(type), in.C.to(type), in.D, in.z.defined() ? in.z.to(type) : in.z,
      in.delta_bias};
}

// The CPU's kernel takes elements of the others' type alone.
bool converts(const ScanTensors& in) {
  return lacks_kernels(in.u.scalar_type()) || (in.u.is_cpu() && in.u.scalar_type() != in.A.scalar_type());
}

// As the kernels take them: a GPU's read rows that are parts of wider ones.
ScanTensors laid_out(const ScanTensors& in) { return in.u.is_cuda() ? in : contiguous(in); }

}  // namespace

torch::Tensor selective_scan(const ScanTensors& in) {
  if (converts(in)) return selective_scan(converted(in)).to(in.u.scalar_type());
  if (!in.u.is_cpu() && !gpu::takes(in.u)) {
    torch::Tensor state = zero_state(in);
    return composed_selective_scan(in, state);
  }
  const ScanTensors c = laid_out(in);
  if (!wants_gradient(c)) return forward_kernel(c, {}, {}, {});
  const auto gate = c.z.defined() ? std::optional(c.z) : std::nullopt;
  return ScanFunction::apply(c.u, c.delta, c.A, c.B, c.C, c.D, gate, c.delta_bias);
}

torch::Tensor selective_scan_from(const ScanTensors& in, const torch::Tensor& state) {
  torch::NoGradGuard no_grad;
  if (converts(in)) return selective_scan_from(converted(in), state).to(in.u.scalar_type());
  const bool composed = !in.u.is_cpu() && !gpu::takes(in.u);
  if (in.u.size(1) == 1 && !composed) return step_kernel(laid_out(in), state);
  torch::Tensor after = composed ? state : torch::empty_like(state);
  const torch::Tensor y =
      composed ? composed_selective_scan(in, after) : forward_kernel(laid_out(in), state, {}, after);
  state.copy_(after);
  return y;
}

torch::Tensor composed_selective_scan(const ScanTensors& given, torch::Tensor& state) {
  const ScanTensors in = converted(given);
  const torch::Tensor delta = torch::softplus(in.delta + in.delta_bias);
  const torch::Tensor input = delta * in.u;
  std::vector<torch::Tensor> outputs;
  for (int64_t t = 0; t < in.u.size(1); ++t) {
    const torch::Tensor decay = torch::exp(delta.select(1, t).unsqueeze(-1) * in.A);  // (B, D, N)
    state = decay * state + input.select(1, t).unsqueeze(-1) * in.B.select(1, t).unsqueeze(1);
    outputs.push_back(torch::matmul(state, in.C.select(1, t).unsqueeze(-1)).squeeze(-1));  // (B, D)
  }
  const torch::Tensor y = torch::stack(outputs, 1) + in.D * in.u;
  return (in.z.defined() ? y * torch::silu(in.z) : y).to(given.u.scalar_type());
}

}  // namespace recite
