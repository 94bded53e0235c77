// All weights of a model in one buffer, and all gradients in another: the optimizer and the reduction over ranks are a
// few operations on whole buffers, or on a rank's share of them.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "models/model.h"

namespace recite {

// Where a buffer's numbers are, and how the ranks of a group share them (the first stage of ZeRO: Rajbhandari et al.,
// arXiv 1910.02054). First come `common` numbers, which every rank sums and updates: of vectors, and of what passes
// read in the master precision. The rest is cut into buckets of one size, and each of those into shares of one size: a
// rank sums and updates its own, and all take over what passes read of the others'.
struct FlatLayout {
  int64_t common = 0;
  int64_t buckets = 0, bucket = 0;  // how many, and the numbers of one
  int ranks = 1;

  int64_t share() const { return bucket / ranks; }  // of a bucket
  int64_t size() const { return common + buckets * bucket; }
  // A buffer's buckets: (buckets, ranks, share()), of its memory.
  torch::Tensor shares(const torch::Tensor& buffer) const {
    return buffer.narrow(0, common, buckets * bucket).view({buckets, ranks, share()});
  }
};

class FlatParameters {
 public:
  static constexpr int64_t default_bucket_bytes = 128 << 20;

  // Moves the model's weights into one buffer: each Parameter's tensor stays the same object and becomes a view of it,
  // and its gradient a view of the gradient buffer, which holds zeros.
  // Where the model computes in a lower precision, it reads copies from then on, which lie in one buffer, too.
  // Buckets are of at most `bucket_bytes`, and a few numbers more for shares of one size.
  explicit FlatParameters(Model& model, int ranks = 1, int64_t bucket_bytes = default_bucket_bytes);

  const FlatLayout& layout() const { return layout_; }
  size_t count() const { return places_.size(); }  // of the model's parameters

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

 private:
  struct Place {
    int64_t begin;
    std::vector<int64_t> shape;
  };
  struct Gradient {
    torch::Tensor parameter, part;  // of the buffer
  };
  FlatLayout layout_;
  std::vector<Place> places_;
  std::vector<Gradient> parts_;
  bool adds_ = true;  // the pass that runs, to what the buffer holds
  torch::Tensor weights_;
  torch::Tensor gradients_;
  torch::Tensor copies_;
};

// The square of the Euclidean norm of gradients (P), or of a rank's share of them: () float64, on the device.
torch::Tensor squared_norm(const torch::Tensor& gradients);

}  // namespace recite
