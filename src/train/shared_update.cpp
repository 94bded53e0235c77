#include "train/shared_update.h"

namespace recite {

SharedUpdate::SharedUpdate(FlatParameters& parameters, double weight_decay, Collective& device)
    : parameters_(parameters), device_(device), reducer_(parameters.layout(), parameters.gradients(), device) {
  const torch::Tensor &weights = parameters.weights(), &gradients = parameters.gradients(),
                      &copies = parameters.copies();
  const auto add_region = [&](const torch::Tensor& of_weights, const torch::Tensor& of_gradients,
                              const torch::Tensor& of_copies) {
    regions_.push_back({of_weights, of_gradients, of_copies, AdamW(of_weights, weight_decay)});
  };
  if (parameters.layout().ranks == 1) {
    add_region(weights, gradients, copies);
    return;
  }
  const auto common = [&](const torch::Tensor& of) {
    return of.defined() ? of.narrow(0, 0, parameters.layout().common) : of;
  };
  const torch::Tensor shares = own_shares(weights).flatten().clone();
  add_region(common(weights), common(gradients), common(copies));
  add_region(shares, reducer_.shares(), copies.defined() ? torch::zeros_like(shares, copies.options()) : copies);
}

torch::Tensor SharedUpdate::sums(const torch::Tensor& loss) {
  const torch::Tensor sums = torch::stack({loss, squared_norm(regions_.back().gradients)});
  if (alone()) return sums;
  // Together: a small sum takes as long as its way over the ranks.
  device_.start_all_reduce_sum(sums.data_ptr(), 2, ElementType::float64);
  const torch::Tensor of_common = squared_norm(regions_.front().gradients);
  device_.join();
  sums[1] += of_common;
  return sums;
}

void SharedUpdate::update(const AdamWStep& step, const torch::Tensor& squared_norm) {
  for (Region& of : regions_) of.optimizer.update(of.weights, of.gradients, step, squared_norm, of.copies);
  if (alone()) return;
  const Region& own = regions_.back();
  if (own.copies.defined())
    start_gather(own.copies, parameters_.copies());
  else
    start_gather(own.weights, parameters_.weights());
  device_.join();
}

void SharedUpdate::gather_weights() {
  if (alone()) return;
  if (regions_.back().copies.defined()) start_gather(regions_.back().weights, parameters_.weights());
  device_.finish();
}

torch::Tensor SharedUpdate::gathered(Moments moments) {
  if (alone()) return (regions_.front().optimizer.*moments)();
  const torch::Tensor& to = parameters_.gradients();
  to.narrow(0, 0, parameters_.layout().common).copy_((regions_.front().optimizer.*moments)());
  start_gather((regions_.back().optimizer.*moments)(), to);
  device_.finish();
  return to;
}

void SharedUpdate::take_weights() {
  if (!alone()) {
    const torch::Tensor shares = own_shares(parameters_.weights());
    regions_.back().weights.view_as(shares).copy_(shares);
  }
  parameters_.refresh_copies();
}

void SharedUpdate::take(const torch::Tensor& from, Moments moments) {
  const auto to = [&](const Region& of) { return torch::Tensor((of.optimizer.*moments)()); };
  if (alone()) {
    to(regions_.front()).copy_(from);
    return;
  }
  const torch::Tensor shares = own_shares(from);
  to(regions_.front()).copy_(from.narrow(0, 0, parameters_.layout().common));
  to(regions_.back()).view_as(shares).copy_(shares);
}

torch::Tensor SharedUpdate::own_shares(const torch::Tensor& buffer) const {
  return parameters_.layout().shares(buffer).select(1, device_.rank());
}

void SharedUpdate::start_gather(const torch::Tensor& shares, const torch::Tensor& buffer) {
  const FlatLayout& layout = parameters_.layout();
  const torch::Tensor own = shares.view({layout.buckets, layout.share()}), all = layout.shares(buffer);
  std::vector<Collective::Gather> of;
  for (int64_t bucket = 0; bucket < layout.buckets; ++bucket)
    of.push_back({own[bucket].data_ptr(), all[bucket].data_ptr()});
  device_.start_all_gather(of, static_cast<size_t>(layout.share() * shares.element_size()), ElementType::bytes);
}

}  // namespace recite
