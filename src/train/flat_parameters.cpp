#include "train/flat_parameters.h"

#include <utility>

#include "ops/gpu.h"

namespace recite {

namespace {

// Elements at whose multiples a parameter begins: 128 bytes of float32, what vector loads and cuBLAS like best.
constexpr int64_t alignment = 32;
// Elements whose squares are summed in the weights' own precision, before float64 takes over.
constexpr int64_t norm_row = 1024;

int64_t rounded_up(int64_t count, int64_t multiple) { return (count + multiple - 1) / multiple * multiple; }

}  // namespace

FlatParameters::FlatParameters(Model& model) {
  const torch::NoGradGuard no_grad;
  int64_t size = 0;
  for (const Parameter& parameter : model.parameters()) {
    places_.push_back({size, parameter.tensor.sizes().vec()});
    size += rounded_up(parameter.tensor.numel(), alignment);
  }
  const auto options = model.parameters().front().tensor.options().requires_grad(false);
  weights_ = torch::zeros({rounded_up(size, norm_row)}, options);
  gradients_ = torch::zeros_like(weights_);
  if (model.rounds_weights()) copies_ = torch::zeros_like(weights_, options.dtype(model.compute_dtype()));
  for (size_t p = 0; p < places_.size(); ++p) {
    torch::Tensor tensor = model.parameters()[p].tensor;
    const torch::Tensor own = part(weights_, p);
    own.copy_(tensor);
    tensor.set_data(own);
    tensor.mutable_grad() = part(gradients_, p);
    if (tensor.dim() == 1) vectors_.push_back({tensor, tensor.grad()});
    if (copies_.defined()) model.read_copy(p, part(copies_, p));
  }
  refresh_copies();
}

void FlatParameters::add_vector_gradients_at_once(const std::function<void()>& backward) {
  struct PutBack {
    std::vector<Vector>& vectors;
    ~PutBack() {
      for (Vector& vector : vectors) vector.parameter.mutable_grad() = vector.gradient;
    }
  } const put_back{vectors_};
  for (Vector& vector : vectors_) vector.parameter.mutable_grad().reset();
  backward();
  add_vector_gradients_so_far();
}

void FlatParameters::add_vector_gradients_so_far() {
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> to, from;
  for (Vector& vector : vectors_) {
    torch::Tensor& made = vector.parameter.mutable_grad();
    if (!made.defined() || made.is_same(vector.gradient)) continue;
    to.push_back(vector.gradient);
    from.push_back(std::exchange(made, torch::Tensor()));
  }
  if (!to.empty()) at::_foreach_add_(to, from);
}

void FlatParameters::refresh_copies() const {
  if (copies_.defined()) torch::Tensor(copies_).copy_(weights_);
}

torch::Tensor FlatParameters::part(const torch::Tensor& buffer, size_t p) const {
  const Place& place = places_[p];
  return buffer.narrow(0, place.begin, c10::multiply_integers(place.shape)).view(place.shape);
}

torch::Tensor FlatParameters::squared_gradient_norm() const {
  if constexpr (gpu::built) {
    if (gpu::takes(gradients_)) return gpu::squared_norm(gradients_);
  }
  const torch::Tensor rows = torch::linalg_vector_norm(gradients_.view({-1, norm_row}), 2, 1);
  return torch::linalg_vector_norm(rows, 2, std::nullopt, false, torch::kFloat64).square();
}

}  // namespace recite
