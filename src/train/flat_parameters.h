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
  // and its gradient a view of the gradient buffer, in which backward() accumulates.
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

  // Runs a backward pass that leaves the gradients of one-dimensional parameters where it makes them, then adds those
  // to the buffer together: each by itself, a hundred of them are a hundred launches on a GPU.
  void add_vector_gradients_at_once(const std::function<void()>& backward);
  // For that pass, from any of its threads, where the buffer is needed before its end: adds those that are made so far.
  // Outside of one there are none.
  void add_vector_gradients_so_far();

  // Square of the whole gradient's Euclidean norm: () float64, on the device.
  torch::Tensor squared_gradient_norm() const;

 private:
  struct Place {
    int64_t begin;
    std::vector<int64_t> shape;
  };
  struct Vector {
    torch::Tensor parameter, gradient;  // the gradient's part of the buffer
  };
  std::vector<Place> places_;
  std::vector<Vector> vectors_;
  torch::Tensor weights_;
  torch::Tensor gradients_;
  torch::Tensor copies_;
};

}  // namespace recite
