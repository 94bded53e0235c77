#include <torch/cuda.h>

#include <algorithm>

#include "base/clock.h"
#include "bench/bench.h"

namespace recite {

namespace {

torch::Dtype product_dtype(Precision precision) {
  if (precision == Precision::bf16) return torch::kBFloat16;
  return precision == Precision::float64 ? torch::kFloat64 : torch::kFloat32;
}

void wait_for(torch::Device device) {
  if (device.is_cuda()) torch::cuda::synchronize(device.index());
}

}  // namespace

double seconds_per_call(const std::function<void()>& call, torch::Device device, double budget) {
  constexpr size_t least = 3, most = 10000;
  call();
  wait_for(device);
  std::vector<double> seconds;
  const Clock::time_point begin = Clock::now();
  while (seconds.size() < least || (seconds_since(begin) < budget && seconds.size() < most)) {
    const Clock::time_point one = Clock::now();
    call();
    wait_for(device);
    seconds.push_back(seconds_since(one));
  }
  const auto middle = seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2);
  std::nth_element(seconds.begin(), middle, seconds.end());
  return *middle;
}

Ceilings measure_ceilings(const BenchRun& run) {
  const torch::NoGradGuard no_grad;
  const int64_t n = run.device.is_cuda() ? 8192 : 1024;
  const auto options = torch::TensorOptions().device(run.device);
  const torch::Tensor a = torch::rand({n, n}, options).to(product_dtype(run.job.train.precision));
  torch::Tensor product = torch::empty_like(a);
  constexpr int64_t copied = int64_t{256} << 20;
  const torch::Tensor from = torch::zeros({copied}, options.dtype(torch::kUInt8));
  torch::Tensor to = torch::empty_like(from);
  Ceilings ceilings;
  ceilings.flops = 2.0 * static_cast<double>(n * n * n) /
                   seconds_per_call([&] { torch::matmul_out(product, a, a); }, run.device, run.budget);
  ceilings.bytes = 2.0 * copied / seconds_per_call([&] { to.copy_(from); }, run.device, run.budget);
  return ceilings;
}

double BenchRow::share(const Ceilings& ceilings) const {
  return std::max(flops / seconds / ceilings.flops, bytes / seconds / ceilings.bytes);
}

void to_json(nlohmann::json& out, const BenchRow& row) {
  out = {{"what", row.what},   {"shape", row.shape}, {"seconds", row.seconds},
         {"flops", row.flops}, {"bytes", row.bytes}, {"tokens", row.tokens}};
}

}  // namespace recite
