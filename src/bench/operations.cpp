#include <fmt/format.h>

#include "bench/bench.h"
#include "ops/attention.h"
#include "ops/causal_conv1d.h"
#include "ops/selective_scan.h"

namespace recite {

namespace {

using Operation = std::function<torch::Tensor()>;

// Counts for one call of the forward; the backward is taken to do `backward_flops` and `backward_bytes` times as much.
struct Work {
  double flops = 0, bytes = 0, tokens = 0;
  double backward_flops = 0, backward_bytes = 0;
};

std::vector<BenchRow> time_operation(const BenchRun& run, const std::string& name, const std::string& shape,
                                     const Work& work, const std::vector<torch::Tensor>& inputs,
                                     const Operation& operation) {
  const auto forward = [&] {
    const torch::NoGradGuard no_grad;
    operation();
  };
  torch::Tensor dy;
  const auto both = [&] {
    const torch::Tensor y = operation();
    if (!dy.defined()) dy = torch::rand_like(y);
    torch::autograd::grad({y}, inputs, {dy});
  };
  const double all_flops = work.flops * (1 + work.backward_flops), all_bytes = work.bytes * (1 + work.backward_bytes);
  return {{name + ", forward", shape, seconds_per_call(forward, run.device, run.budget), work.flops, work.bytes,
           work.tokens},
          {name + ", forward and backward", shape, seconds_per_call(both, run.device, run.budget), all_flops, all_bytes,
           work.tokens}};
}

struct Shapes {
  int64_t batch, time, hidden;
  torch::TensorOptions elements, parameters;  // bf16 with float32, or both of one precision

  torch::Tensor input(torch::IntArrayRef sizes) const { return random(sizes, elements); }
  torch::Tensor parameter(torch::IntArrayRef sizes) const { return random(sizes, parameters); }
  static torch::Tensor random(torch::IntArrayRef sizes, const torch::TensorOptions& options) {
    return torch::rand(sizes, options).sub_(0.5).requires_grad_(true);
  }
  double tokens() const { return static_cast<double>(batch * time); }
  double value_bytes() const { return static_cast<double>(elements.dtype().itemsize()); }
  std::string text() const { return fmt::format("{} x {}", batch, time); }
};

Shapes shapes_of(const BenchRun& run) {
  const bool exact = run.job.train.precision == Precision::float64, narrow = run.job.train.precision == Precision::bf16;
  const auto parameters = torch::TensorOptions().device(run.device).dtype(exact ? torch::kFloat64 : torch::kFloat32);
  return {run.job.train.batch_size, run.job.train.context_length, run.job.model.hidden_size,
          narrow ? parameters.dtype(torch::kBFloat16) : parameters, parameters};
}

std::vector<BenchRow> bench_attention(const BenchRun& run) {
  const Shapes s = shapes_of(run);
  const int64_t heads = run.job.model.heads, head = s.hidden / heads;
  const torch::Tensor qkv = s.input({s.batch, s.time, heads, 3, head});
  Work work;
  work.tokens = s.tokens();
  work.flops = 2 * s.tokens() * static_cast<double>(s.time * s.hidden);  // two products, half of each (causal)
  work.backward_flops = 2.5;
  return time_operation(run, "attention", fmt::format("{}, {} heads of {}", s.text(), heads, head), work, {qkv},
                        [=] { return causal_attention(qkv, {}); });
}

std::vector<BenchRow> bench_scan(const BenchRun& run) {
  const Shapes s = shapes_of(run);
  const int64_t D = 2 * s.hidden, N = run.job.model.state_dim;
  const auto row = [&] { return s.input({s.batch, s.time, D}); };
  const auto per_state = [&] { return s.input({s.batch, s.time, N}); };
  const torch::Tensor A = (-torch::rand({D, N}, s.parameters) - 0.1).requires_grad_(true);
  const ScanTensors in{.u = row(),
                       .delta = row(),
                       .A = A,
                       .B = per_state(),
                       .C = per_state(),
                       .D = s.parameter({D}),
                       .z = row(),
                       .delta_bias = s.parameter({D})};
  Work work;
  work.tokens = s.tokens();
  work.bytes = s.tokens() * static_cast<double>(4 * D + 2 * N) * s.value_bytes();  // u, delta, z, y; B, C
  work.backward_bytes = 2;
  return time_operation(run, "selective scan", fmt::format("{}, {} channels, {} states", s.text(), D, N), work,
                        {in.u, in.delta, in.A, in.B, in.C, in.D, in.z, in.delta_bias},
                        [=] { return selective_scan(in); });
}

std::vector<BenchRow> bench_conv(const BenchRun& run) {
  const Shapes s = shapes_of(run);
  const int64_t D = 2 * s.hidden, width = 4;
  const torch::Tensor x = s.input({s.batch, s.time, D}), weight = s.parameter({D, width}), bias = s.parameter({D});
  Work work;
  work.tokens = s.tokens();
  work.bytes = s.tokens() * static_cast<double>(2 * D) * s.value_bytes();
  work.backward_bytes = 1.5;
  return time_operation(run, "causal convolution", fmt::format("{}, {} channels", s.text(), D), work, {x, weight, bias},
                        [=] { return causal_conv1d(x, weight, bias); });
}

}  // namespace

std::vector<BenchRow> bench_operations(const BenchRun& run) {
  switch (run.job.model.architecture) {
    case Architecture::lstm:
      return {};
    case Architecture::mamba: {
      std::vector<BenchRow> rows = bench_scan(run);
      for (BenchRow& row : bench_conv(run)) rows.push_back(std::move(row));
      return rows;
    }
    default:
      return bench_attention(run);
  }
}

}  // namespace recite
