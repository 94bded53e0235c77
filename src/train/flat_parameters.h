// All weights of a model in one buffer, and all gradients in another: the optimizer and the reduction over ranks are a
// few operations on whole buffers.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "models/model.h"

namespace recite {

class FlatParameters {
 public:
  // Moves the model's weights into one buffer: each Parameter's tensor stays the same object and becomes a view of it,
  // and its gradient a view of the gradient buffer, which holds zeros.
  // Where the model computes in a lower precision, it reads copies from then on, which lie in one buffer, too.
  explicit FlatParameters(Model& model);

  // (P) in the master precision, on the model's device. P counts the gaps that align each parameter, too; they are zero
  // in every buffer and stay so.
  const torch::Tensor& weights() const { return weights_; }
  const torch::Tensor& gradients() const { return gradients_; }

  // The weights in the model's compute precision; undefined where that is their own.
  const torch::Tensor& copies() const { return copies_; }
  // To be called when the weights were changed by other hands than AdamW's.
  void refresh_copies() const;

  // The part of a buffer laid out like weights() that belongs to the model's parameter p, in the parameter's shape.
  torch::Tensor part(const torch::Tensor& buffer, size_t p) const;

  // Runs a backward pass of a step, which gives each parameter a gradient. The step's first writes the gradient buffer,
  // whatever it held, and further ones add to it. Gradients of one-dimensional parameters stay where the pass makes
  // them and are brought there together: each by itself, a hundred of them are a hundred launches on a GPU.
  void accumulate_gradients(bool first, const std::function<void()>& backward);
  // For that pass, from any of its threads, where the buffer is needed before its end: brings what is made so far.
  // Outside of one there is nothing.
  void gather_gradients();
  // The part of the buffer that belongs to one of the model's parameters.
  const torch::Tensor& gradient_of(const torch::Tensor& parameter) const;

  // Square of the whole gradient's Euclidean norm: () float64, on the device.
  torch::Tensor squared_gradient_norm() const;

 private:
  struct Place {
    int64_t begin;
    std::vector<int64_t> shape;
  };
  struct Gradient {
    torch::Tensor parameter, part;  // of the buffer
  };
  std::vector<Place> places_;
  std::vector<Gradient> parts_;
  bool adds_ = true;  // the pass that runs, to what the buffer holds
  torch::Tensor weights_;
  torch::Tensor gradients_;
  torch::Tensor copies_;
};

}  // namespace recite
