// A sequence model: tokens in, logits over the vocabulary out; and one token at a time from a cache.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "jobs/specs.h"
#include "models/initial.h"
#include "ops/product.h"

namespace recite {

// Before places first meet, in an attention, a convolution or a recurrence, what a model computes of one depends on its
// token alone. Of a vocabulary of at most so many, transformers and Mamba compute it for each token, and each place
// takes its own: the products of a first layer's projections, of all places, and of their gradients are saved.
constexpr int64_t small_vocabulary = 64;

// What a model's weights are there for. Those of ModelUse::inference carry no gradient, and the large ones lie in the
// precision that the forward pass computes in.
enum class ModelUse { training, inference };

// A named weight: a leaf tensor in the master precision (float32, or float64 for Precision::float64); for
// ModelUse::inference, where only the forward pass reads it, in the precision that this computes in. Names are those of
// the Hugging Face layout (GPTNeoXForCausalLM for the transformers, MambaForCausalLM for mamba).
struct Parameter {
  std::string name;
  torch::Tensor tensor;
  bool computed;  // passes read it through compute() alone: rounded, where the model rounds weights
};

struct ForwardContext {
  // (M), int64, each at most once: the places in tokens.flatten() whose logits are wanted; undefined: all. What only
  // other places need is not computed.
  torch::Tensor wanted = {};

  // Called in the backward pass, in its order, when the gradients of parameters() from `parameter` to the last are
  // complete (on a GPU: queued). It must not throw what is no std::exception.
  std::function<void(const torch::Tensor& parameter)> gradients_complete = {};

  // What a pass in training needs to draw the same dropout masks on any number of ranks.
  bool training = false;
  uint64_t seed = 0;
  // (B, 3), int64, on the model's device, contiguous: of each row the training step, the row of the global batch, and
  // the position in that at which it begins. A tensor, so that a recorded pass can be used again.
  torch::Tensor row_places = {};
};

// What a model remembers of the tokens read so far, for B sequences: keys and values, convolution and scan states, or
// LSTM states. Made by Model::new_cache, of the weights as they are then.
class ModelCache {
 public:
  virtual ~ModelCache() = default;
  // Goes on with the sequences `rows` (int64, on the model's device), in that order, and forgets the others.
  virtual void keep(const torch::Tensor& rows) = 0;
};

class Model {
 public:
  virtual ~Model() = default;

  // tokens (B, T), int64, on the model's device -> logits (B, T, V), or (M, V) of the places that the context wants;
  // V >= vocabulary, float32 (float64 in float64). Entries of V beyond the vocabulary (padding of the embedding) are
  // part of the output here; argmax and loss ignore them through `vocabulary()`.
  virtual torch::Tensor forward(const torch::Tensor& tokens, const ForwardContext& context) = 0;

  // A cache for `batch` sequences of at most `max_tokens` tokens, none of them read yet.
  virtual std::unique_ptr<ModelCache> new_cache(int64_t batch, int64_t max_tokens) = 0;
  // Reads the prompts of all sequences, in one pass, into a new cache: row b is the first lengths[b] >= 1 of tokens
  // (B, T), int64, on the model's device; what follows may be any tokens. lengths (B): int64, on the CPU. Returns the
  // logits of the last token of each (B, V).
  virtual torch::Tensor prefill(const torch::Tensor& tokens, const torch::Tensor& lengths, ModelCache& cache) = 0;
  // Reads the next token of each sequence, tokens (B); returns its logits (B, V). The cache changes in place, and
  // nothing waits for the GPU, so that a CUDA graph of a step may be used again.
  virtual torch::Tensor step(const torch::Tensor& tokens, ModelCache& cache) = 0;

  const std::vector<Parameter>& parameters() const { return parameters_; }
  int64_t parameter_count() const;
  int64_t vocabulary() const { return vocabulary_; }  // tokens that may win the argmax
  const ModelSpec& spec() const { return spec_; }
  torch::Device device() const { return device_; }

  // Whether forward passes read weights that are rounded to a lower precision than the parameters'.
  bool rounds_weights() const { return compute_dtype() != master_dtype(); }
  // The precision that forward passes compute in.
  torch::ScalarType compute_dtype() const;
  // From now on they read `copy` (compute_dtype(), the parameter's shape) in place of rounding parameter p; who gives
  // it keeps it up to date. `gradient`: memory for the parameter's, or undefined (ops/rounded_weight.h).
  void read_copy(size_t p, const torch::Tensor& copy, const torch::Tensor& gradient);

  // Gives every weight its initial value: parameter p's come from the streams (initial_weight, seed, p, ...).
  void initialise(uint64_t seed);

 protected:
  Model(const ModelSpec& spec, int64_t vocabulary, Precision precision, torch::Device device, ModelUse use);

  // Registers a weight of zeros; its values come from initialise() or load_parameters().
  torch::Tensor add_parameter(const std::string& name, std::vector<int64_t> shape, Initial initial);
  // The same for a weight that is read through compute() alone: for inference it lies in that precision.
  torch::Tensor add_matrix(const std::string& name, std::vector<int64_t> shape, Initial initial);
  // The same for an embedding, which lies in that precision, too, but is read as it is.
  torch::Tensor add_embedding(const std::string& name, std::vector<int64_t> shape, Initial initial);
  // The precision of the weights, and of sums that must not be rounded to 16 bits: float32, or float64.
  torch::ScalarType master_dtype() const;
  // The weight (or activation) in the precision that the forward pass computes in.
  torch::Tensor compute(const torch::Tensor& weight) const;
  // torch::linear of x, in the compute precision, with the weight as compute() gives it. A bias is added as a constant:
  // who asks for one sees to its gradient, as causal_attention() does (ops/attention.h).
  torch::Tensor linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias = {}) const;
  // bias_gelu() (ops/bias_gelu.h) of the same without a bias.
  torch::Tensor linear_gelu(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias) const;
  // linear() of each, and bias_gelu() of it where gelu_bias is defined; the weights and biases are the model's
  // parameters, not what compute() gives. Neither is of what the other makes: a step of generation has one kernel for
  // both.
  std::pair<torch::Tensor, torch::Tensor> linear_both(const PlainProduct& first, const PlainProduct& second) const;
  // linear() without a bias, and x again, for what else is computed from it (ops/product.h).
  ProductAndInput linear_and_input(const torch::Tensor& x, const torch::Tensor& weight) const;
  // Tells context.gradients_complete that those from `parameter` on are, once the gradient of `x` is.
  static void watch(const ForwardContext& context, const torch::Tensor& x, const torch::Tensor& parameter);
  torch::Tensor master(const torch::Tensor& x) const { return x.to(master_dtype()); }
  // Whether the first layer computes for each token of the vocabulary (small_vocabulary) what it can of `tokens` (B,
  // T), whose embedding has V rows: not of a step of a cache. Whatever B and T > 1 are, so that a row's numbers do not
  // depend on them.
  static bool begins_by_token(const torch::Tensor& embedding, const torch::Tensor& tokens) {
    return embedding.size(0) <= small_vocabulary && tokens.size(1) > 1;
  }
  // What the first layer reads, in the master precision: the vocabulary's rows (V, d) if it does, or the tokens' (B,
  // T, d).
  torch::Tensor first_rows(const torch::Tensor& embedding, const torch::Tensor& tokens) const;
  // (B), on the device: where the last tokens of prompts (B, T) stand in tokens.flatten(); lengths as in prefill().
  torch::Tensor last_places(const torch::Tensor& tokens, const torch::Tensor& lengths) const;

  ModelSpec spec_;
  int64_t vocabulary_;
  Precision precision_;

 private:
  const RoundedWeight* rounded(const torch::Tensor& weight) const;  // null: no copy of it is read
  // The one that product() takes with x; null: none, or no backward follows.
  const RoundedWeight* rounded_for_product(const torch::Tensor& x, const torch::Tensor& weight) const;
  // Its weights and biases in the compute precision, as ops/product.h wants them.
  PlainProduct plain(const PlainProduct& of) const;
  torch::Tensor constant_of(const torch::Tensor& weight) const;  // as compute(), but without a gradient
  torch::Tensor add_weight(const std::string& name, torch::IntArrayRef shape, torch::ScalarType dtype, bool computed,
                           Initial initial);
  torch::ScalarType matrix_dtype() const { return use_ == ModelUse::inference ? compute_dtype() : master_dtype(); }

  torch::Device device_;
  ModelUse use_;
  std::vector<Parameter> parameters_;
  std::vector<Initial> initial_;  // of each parameter
  std::unordered_map<const c10::TensorImpl*, RoundedWeight> rounded_;
};

// Builds the model with the initial weights named by `seed`, the same on every rank. `vocabulary` = tokens of the task.
// On a GPU it also sets, for the whole process, whether matrix products may use TF32 (Precision::tf32 alone) and that
// LibTorch picks deterministic algorithms. Throws UsageError when the spec's numbers do not fit together.
std::unique_ptr<Model> make_model(const ModelSpec& spec, int64_t vocabulary, Precision precision, torch::Device device,
                                  uint64_t seed);
// The same with weights of zeros, for load_parameters(). On torch::kMeta it has shapes and no memory.
// Precision::float16 is for ModelUse::inference alone.
std::unique_ptr<Model> make_model(const ModelSpec& spec, int64_t vocabulary, Precision precision, torch::Device device,
                                  ModelUse use = ModelUse::training);

// Copies named tensors into the model: every parameter must be there with its shape, and nothing else; throws Error
// that names what is missing, extra or misshapen.
void load_parameters(Model& model, const std::vector<std::pair<std::string, torch::Tensor>>& tensors);

}  // namespace recite
