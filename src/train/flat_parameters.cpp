#include "train/flat_parameters.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "ops/gpu.h"

namespace recite {

namespace {

// Elements at whose multiples a parameter begins: 128 bytes of float32, what vector loads and cuBLAS like best.
constexpr int64_t alignment = 32;
// Elements whose squares are summed in the weights' own precision, before float64 takes over; of them are the common
// part and every share.
constexpr int64_t norm_row = 1024;

int64_t in_parts(int64_t count, int64_t part) { return (count + part - 1) / part; }
int64_t rounded_up(int64_t count, int64_t multiple) { return in_parts(count, multiple) * multiple; }

bool is_shared(const Parameter& parameter) { return parameter.computed && parameter.tensor.dim() > 1; }

}  // namespace

FlatParameters::FlatParameters(Model& model, int ranks, int64_t bucket_bytes) {
  const torch::NoGradGuard no_grad;
  const auto options = model.parameters().front().tensor.options().requires_grad(false);
  int64_t common = 0, shared = 0;
  for (const Parameter& parameter : model.parameters()) {
    int64_t& size = is_shared(parameter) ? shared : common;
    places_.push_back({size, parameter.tensor.sizes().vec()});
    size += rounded_up(parameter.tensor.numel(), alignment);
  }
  layout_.ranks = ranks;
  layout_.common = rounded_up(common, norm_row);
  const int64_t buckets = std::max<int64_t>(1, in_parts(shared, bucket_bytes / options.dtype().itemsize()));
  layout_.bucket = rounded_up(in_parts(shared, buckets), ranks * norm_row);
  layout_.buckets = in_parts(shared, layout_.bucket);
  for (size_t p = 0; p < places_.size(); ++p)
    if (is_shared(model.parameters()[p])) places_[p].begin += layout_.common;
  weights_ = torch::zeros({layout_.size()}, options);
  gradients_ = torch::zeros_like(weights_);
  if (model.rounds_weights()) copies_ = torch::zeros_like(weights_, options.dtype(model.compute_dtype()));
  for (size_t p = 0; p < places_.size(); ++p) {
    torch::Tensor tensor = model.parameters()[p].tensor;
    const torch::Tensor own = part(weights_, p);
    own.copy_(tensor);
    tensor.set_data(own);
    tensor.mutable_grad() = part(gradients_, p);
    parts_.push_back({tensor, tensor.grad()});
    if (copies_.defined()) model.read_copy(p, part(copies_, p), tensor.dim() > 1 ? tensor.grad() : torch::Tensor());
  }
  refresh_copies();
}

void FlatParameters::accumulate_gradients(bool first, const std::function<void()>& backward) {
  struct PutBack {
    std::vector<Gradient>& parts;
    ~PutBack() {
      for (Gradient& of : parts) of.parameter.mutable_grad() = of.part;
    }
  } const put_back{parts_};
  // Without copies autograd makes the matrices' gradients. Left where they are made, all of them would take the memory
  // of a second buffer: each is added to zeros instead.
  adds_ = !first || !copies_.defined();
  if (first && adds_) gradients_.zero_();
  for (Gradient& of : parts_)
    if (!adds_ || of.parameter.dim() == 1) of.parameter.mutable_grad().reset();
  backward();
  gather_gradients();
  const auto has_none = [](const Gradient& of) { return !of.parameter.grad().defined(); };
  if (!adds_ && std::any_of(parts_.begin(), parts_.end(), has_none))
    throw std::logic_error("a backward pass without a gradient of each parameter");
}

// What was brought once is added to in the buffer, should the pass make more of it.
void FlatParameters::gather_gradients() {
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> to, from;
  for (Gradient& of : parts_) {
    torch::Tensor& made = of.parameter.mutable_grad();
    if (!made.defined() || made.data_ptr() == of.part.data_ptr()) continue;
    to.push_back(of.part);
    from.push_back(std::exchange(made, of.part));
  }
  if (to.empty()) return;
  if (adds_)
    at::_foreach_add_(to, from);
  else
    at::_foreach_copy_(to, from);
}

const torch::Tensor& FlatParameters::gradient_of(const torch::Tensor& parameter) const {
  const auto found =
      std::find_if(parts_.begin(), parts_.end(), [&](const Gradient& of) { return of.parameter.is_same(parameter); });
  if (found == parts_.end()) throw std::logic_error("the gradient of another model's parameter");
  return found->part;
}

void FlatParameters::refresh_copies() const {
  if (copies_.defined()) torch::Tensor(copies_).copy_(weights_);
}

torch::Tensor FlatParameters::part(const torch::Tensor& buffer, size_t p) const {
  const Place& place = places_[p];
  return buffer.narrow(0, place.begin, c10::multiply_integers(place.shape)).view(place.shape);
}

torch::Tensor squared_norm(const torch::Tensor& gradients) {
  if constexpr (gpu::built) {
    if (gpu::takes(gradients)) return gpu::squared_norm(gradients);
  }
  const torch::Tensor rows = torch::linalg_vector_norm(gradients.view({-1, norm_row}), 2, 1);
  return torch::linalg_vector_norm(rows, 2, std::nullopt, false, torch::kFloat64).square();
}

}  // namespace recite
