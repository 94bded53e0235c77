#include "models/model.h"

#include <ATen/Context.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>

#include "base/error.h"
#include "models/lstm.h"
#include "models/mamba.h"
#include "models/transformer.h"
#include "ops/bias_gelu.h"
#include "ops/embed.h"
#include "ops/gpu.h"
#include "ops/rounded_weight.h"

namespace recite {

namespace {

std::string shape_text(torch::IntArrayRef shape) { return fmt::format("({})", fmt::join(shape, ", ")); }

void set_matmul_precision(Precision precision) {
  at::globalContext().setAllowTF32CuBLAS(precision == Precision::tf32);
  at::globalContext().setAllowTF32CuDNN(precision == Precision::tf32);
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  // Else every torch::empty is filled with NaN first: one more pass over each result of a kernel.
  at::globalContext().setDeterministicFillUninitializedMemory(false);
}

}  // namespace

Model::Model(const ModelSpec& spec, int64_t vocabulary, Precision precision, torch::Device device, ModelUse use)
    : spec_(spec), vocabulary_(vocabulary), precision_(precision), device_(device), use_(use) {
  if (precision == Precision::float16 && use == ModelUse::training)
    throw UsageError("float16 is for models that are only evaluated; train in bf16, tf32, float32 or float64.");
}

torch::Tensor Model::add_parameter(const std::string& name, std::vector<int64_t> shape, Initial initial) {
  return add_weight(name, shape, master_dtype(), /*computed=*/false, std::move(initial));
}

torch::Tensor Model::add_matrix(const std::string& name, std::vector<int64_t> shape, Initial initial) {
  return add_weight(name, shape, matrix_dtype(), /*computed=*/true, std::move(initial));
}

torch::Tensor Model::add_embedding(const std::string& name, std::vector<int64_t> shape, Initial initial) {
  return add_weight(name, shape, matrix_dtype(), /*computed=*/false, std::move(initial));
}

torch::Tensor Model::add_weight(const std::string& name, torch::IntArrayRef shape, torch::ScalarType dtype,
                                bool computed, Initial initial) {
  const auto options = torch::TensorOptions().dtype(dtype).device(device_).requires_grad(use_ == ModelUse::training);
  parameters_.push_back({name, torch::zeros(shape, options), computed});
  initial_.push_back(std::move(initial));
  return parameters_.back().tensor;
}

torch::ScalarType Model::master_dtype() const {
  return precision_ == Precision::float64 ? torch::kFloat64 : torch::kFloat32;
}

torch::ScalarType Model::compute_dtype() const {
  if (precision_ == Precision::float16) return torch::kFloat16;
  return precision_ == Precision::bf16 ? torch::kBFloat16 : master_dtype();
}

const RoundedWeight* Model::rounded(const torch::Tensor& weight) const {
  const auto found = rounded_.find(weight.unsafeGetTensorImpl());
  return found == rounded_.end() ? nullptr : &found->second;
}

const RoundedWeight* Model::rounded_for_product(const torch::Tensor& x, const torch::Tensor& weight) const {
  const RoundedWeight* const found = torch::GradMode::is_enabled() ? rounded(weight) : nullptr;
  return found && found->gradient.defined() && takes_product(x, found->copy) ? found : nullptr;
}

torch::Tensor Model::compute(const torch::Tensor& weight) const {
  const RoundedWeight* const found = rounded(weight);
  return found ? rounded_weight(*found) : weight.to(compute_dtype());
}

torch::Tensor Model::constant_of(const torch::Tensor& weight) const {
  const RoundedWeight* const found = rounded(weight);
  return found ? found->copy : weight.detach().to(compute_dtype());
}

PlainProduct Model::plain(const PlainProduct& of) const {
  return {of.x, compute(of.weight), of.bias.defined() ? constant_of(of.bias) : of.bias, of.gelu_bias};
}

torch::Tensor Model::linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias) const {
  if (!torch::GradMode::is_enabled()) return plain_product(plain({x, weight, bias}));
  const torch::Tensor constant = bias.defined() ? constant_of(bias) : bias;
  if (const RoundedWeight* const of = rounded_for_product(x, weight)) return product(x, *of, constant);
  return torch::linear(x, compute(weight), constant);
}

torch::Tensor Model::linear_gelu(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias) const {
  if (!torch::GradMode::is_enabled()) return plain_product(plain({x, weight, {}, bias}));
  return bias_gelu(linear(x, weight), bias);
}

std::pair<torch::Tensor, torch::Tensor> Model::linear_both(const PlainProduct& first,
                                                           const PlainProduct& second) const {
  if (!torch::GradMode::is_enabled()) return plain_products(plain(first), plain(second));
  const auto one = [&](const PlainProduct& of) {
    const torch::Tensor y = linear(of.x, of.weight, of.bias);
    return of.gelu_bias.defined() ? bias_gelu(y, of.gelu_bias) : y;
  };
  return {one(first), one(second)};
}

ProductAndInput Model::linear_and_input(const torch::Tensor& x, const torch::Tensor& weight) const {
  if (const RoundedWeight* const of = rounded_for_product(x, weight)) return product_and_input(x, *of);
  return {linear(x, weight), x};
}

void Model::watch(const ForwardContext& context, const torch::Tensor& x, const torch::Tensor& parameter) {
  if (!context.gradients_complete || !x.requires_grad()) return;
  x.register_hook([tell = context.gradients_complete, parameter](const torch::Tensor&) { tell(parameter); });
}

torch::Tensor Model::first_rows(const torch::Tensor& embedding, const torch::Tensor& tokens) const {
  // Not the weight itself: what watch() leaves on a weight would stay for all passes.
  return master(begins_by_token(embedding, tokens) ? embedding.view_as(embedding) : embed(embedding, tokens));
}

void Model::read_copy(size_t p, const torch::Tensor& copy, const torch::Tensor& gradient) {
  const torch::Tensor& weight = parameters_.at(p).tensor;
  rounded_[weight.unsafeGetTensorImpl()] = {weight, copy, gradient};
}

int64_t Model::parameter_count() const {
  int64_t count = 0;
  for (const Parameter& parameter : parameters_) count += parameter.tensor.numel();
  return count;
}

torch::Tensor Model::last_places(const torch::Tensor& tokens, const torch::Tensor& lengths) const {
  return (torch::arange(tokens.size(0)) * tokens.size(1) + lengths - 1).to(device_);
}

void Model::initialise(uint64_t seed) {
  for (size_t p = 0; p < parameters_.size(); ++p) fill_initial(parameters_[p].tensor, initial_[p], seed, p);
}

std::unique_ptr<Model> make_model(const ModelSpec& spec, int64_t vocabulary, Precision precision, torch::Device device,
                                  ModelUse use) {
  if (device.is_cuda()) set_matmul_precision(precision);
  switch (spec.architecture) {
    case Architecture::mamba:
      return std::make_unique<Mamba>(spec, vocabulary, precision, device, use);
    case Architecture::lstm:
      return std::make_unique<Lstm>(spec, vocabulary, precision, device, use);
    default:
      return std::make_unique<Transformer>(spec, vocabulary, precision, device, use);
  }
}

std::unique_ptr<Model> make_model(const ModelSpec& spec, int64_t vocabulary, Precision precision, torch::Device device,
                                  uint64_t seed) {
  auto model = make_model(spec, vocabulary, precision, device);
  model->initialise(seed);
  return model;
}

void load_parameters(Model& model, const std::vector<std::pair<std::string, torch::Tensor>>& tensors) {
  std::map<std::string, torch::Tensor> given;
  for (const auto& [name, tensor] : tensors)
    if (!given.emplace(name, tensor).second) throw Error(fmt::format("The weights hold '{}' twice.", name));
  std::vector<std::pair<torch::Tensor, torch::Tensor>> copies;
  for (const Parameter& parameter : model.parameters()) {
    const auto found = given.find(parameter.name);
    if (found == given.end()) throw Error(fmt::format("The weights lack '{}'.", parameter.name));
    if (found->second.sizes() != parameter.tensor.sizes())
      throw Error(fmt::format("The weights' '{}' has shape {}; the model wants {}.", parameter.name,
                              shape_text(found->second.sizes()), shape_text(parameter.tensor.sizes())));
    copies.emplace_back(parameter.tensor, found->second);
    given.erase(found);
  }
  if (!given.empty()) throw Error(fmt::format("The weights hold '{}', which the model has not.", given.begin()->first));
  torch::NoGradGuard no_grad;
  for (const auto& [to, from] : copies) to.copy_(from);
}

}  // namespace recite
