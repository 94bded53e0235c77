// A step's update by the ranks of a group, each of its share (FlatLayout).
#pragma once

#include <torch/torch.h>

#include <vector>

#include "comm/collective.h"
#include "train/adamw.h"
#include "train/flat_parameters.h"
#include "train/gradient_reducer.h"

namespace recite {

// Of its shares, a rank alone has the moments and, where passes read copies, the new weights: in the parameters' buffer
// these are as they were when gather_weights() or take_weights() was last called. One rank has everything.
//
// Every rank calls the same. On a GPU all of it is queued on the default stream, and the host waits for nothing but in
// what says so.
class SharedUpdate {
 public:
  SharedUpdate(FlatParameters& parameters, double weight_decay, Collective& device);

  GradientReducer& reducer() { return reducer_; }

  // When the reducer has finished: (2) float64, of all ranks, the sum of `loss` (() float64) and that of the gradients'
  // squares. Throws PeerLost.
  torch::Tensor sums(const torch::Tensor& loss);
  // squared_norm: the second of those. On return what follows sees what passes read of all weights. Throws PeerLost.
  void update(const AdamWStep& step, const torch::Tensor& squared_norm);

  // Brings all weights into the parameters' buffer. Waits; throws PeerLost.
  void gather_weights();
  // Buffers (P), laid out like the weights, on the device. Of several ranks they lie where gradients do: until the next
  // call of either, or pass. Wait; throw PeerLost.
  torch::Tensor first_moments() { return gathered(&AdamW::first_moments); }
  torch::Tensor second_moments() { return gathered(&AdamW::second_moments); }

  // The parameters' buffer was written: takes over the weights that it holds, on every rank the same.
  void take_weights();
  // From buffers (P) that are the same on every rank.
  void take_first_moments(const torch::Tensor& from) { take(from, &AdamW::first_moments); }
  void take_second_moments(const torch::Tensor& from) { take(from, &AdamW::second_moments); }

 private:
  // What is updated as one: of one rank everything; of several the common part, and then the rank's shares.
  struct Region {
    torch::Tensor weights, gradients, copies;
    AdamW optimizer;
  };
  using Moments = const torch::Tensor& (AdamW::*)() const;

  bool alone() const { return regions_.size() == 1; }
  // The rank's shares (buckets, share()) of a buffer (P).
  torch::Tensor own_shares(const torch::Tensor& buffer) const;
  // Begins to bring the ranks' shares (buckets * share()) into a buffer (P).
  void start_gather(const torch::Tensor& shares, const torch::Tensor& buffer);
  torch::Tensor gathered(Moments moments);
  void take(const torch::Tensor& from, Moments moments);

  FlatParameters& parameters_;
  Collective& device_;
  GradientReducer reducer_;
  std::vector<Region> regions_;
};

}  // namespace recite
