#include "train/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <type_traits>
#include <utility>

#include "tasks/batch.h"
#include "train/adamw.h"
#include "train/checkpoint.h"
#include "train/flat_parameters.h"
#include "train/gradient_reducer.h"
#include "train/loss.h"
#include "train/schedule.h"

namespace recite {

namespace {

// Sums over the rows of a step, first this rank's, then all. Counts are exact in float64 up to 2^53.
struct StepSums {
  double loss = 0;
  double answer_tokens = 0;
  double examples = 0;
  double tokens = 0;
  double stop_votes = 0;
};
static_assert(std::is_standard_layout_v<StepSums> && sizeof(StepSums) == 5 * sizeof(double));

void check_finite(double value, const char* what, int64_t step) {
  if (std::isfinite(value)) return;
  throw NotFinite(
      fmt::format("the {} of step {} is {}: try a lower train.learning_rate, a smaller train.gradient_clip, "
                  "or train.precision = float32",
                  what, step, value));
}

}  // namespace

struct Trainer::State {
  State(const Job& job_, torch::Device device, Group group_)
      : job(job_),
        task(job_.task),
        group(group_),
        model(make_model(job.model, vocabulary_size(job.task), job.train.precision, device,
                         static_cast<uint64_t>(job.train.seed))),
        parameters(*model),
        reducer(parameters.gradients(), group.device),
        optimizer(parameters.weights(), job.train.weight_decay) {}

  // Forward and backward of this rank's rows, a micro batch at a time. The gradient is that of the SUM of the losses:
  // by how many answer tokens to divide is known only when all ranks have counted theirs.
  StepSums accumulate_gradients();
  torch::Tensor accumulate_micro_batch(const Batch& batch);

  // Every buffer that a checkpoint holds, by name.
  std::vector<std::pair<std::string, torch::Tensor>> named_parts() const;
  void restore(const Checkpoint& checkpoint);

  Job job;
  Task task;
  Group group;
  std::unique_ptr<Model> model;
  FlatParameters parameters;
  GradientReducer reducer;
  AdamW optimizer;
  int64_t steps = 0;
  int64_t examples = 0;
};

Trainer::Trainer(const Job& job, torch::Device device, Group group)
    : state_(std::make_unique<State>(job, device, group)) {}

Trainer::~Trainer() = default;

bool Trainer::finished() const { return state_->steps >= state_->job.train.total_steps(); }
int64_t Trainer::steps_done() const { return state_->steps; }
int64_t Trainer::examples_done() const { return state_->examples; }
Model& Trainer::model() { return *state_->model; }

StepReport Trainer::step(bool vote_stop) {
  State& s = *state_;
  const TrainSpec& train = s.job.train;
  if (finished()) throw Error(fmt::format("all {} steps of the job are done", s.steps));

  StepSums sums = s.accumulate_gradients();
  sums.stop_votes = vote_stop ? 1 : 0;
  s.reducer.reduce();
  s.group.host.all_reduce_sum(&sums, sizeof(sums) / sizeof(double), ElementType::float64);
  if (sums.answer_tokens == 0) {
    throw Error(fmt::format("no row of step {} holds a whole example: raise train.context_length", s.steps + 1));
  }

  StepReport report;
  report.step = s.steps + 1;
  report.examples = s.examples + static_cast<int64_t>(sums.examples);
  report.tokens = static_cast<int64_t>(sums.tokens);
  report.loss = sums.loss / sums.answer_tokens;
  report.learning_rate = learning_rate(train, s.steps);
  const torch::Tensor squared_norm = s.parameters.squared_gradient_norm();
  report.grad_norm = std::sqrt(squared_norm.item<double>()) / sums.answer_tokens;
  report.stop_voted = sums.stop_votes > 0;
  check_finite(report.loss, "loss", report.step);
  check_finite(report.grad_norm, "gradient norm", report.step);

  s.optimizer.update(s.parameters.weights(), s.parameters.gradients(),
                     {report.learning_rate, report.step, sums.answer_tokens, train.gradient_clip}, squared_norm);
  s.steps = report.step;
  s.examples = report.examples;
  return report;
}

StepSums Trainer::State::accumulate_gradients() {
  const int64_t rows = job.train.batch_size;
  const int64_t begin = group.rank() * rows / group.size();
  const int64_t end = (group.rank() + 1) * rows / group.size();
  const int64_t micro = job.train.micro_batch_size > 0 ? job.train.micro_batch_size : end - begin;

  StepSums sums;
  torch::Tensor loss = torch::zeros({}, parameters.weights().options().dtype(torch::kFloat64));
  parameters.gradients().zero_();
  for (int64_t first = begin; first < end; first += micro) {
    const auto count = static_cast<int>(std::min(micro, end - first));
    const Batch batch = training_batch(task, job.train, steps, first, count);
    sums.examples += static_cast<double>(batch.examples);
    sums.tokens += static_cast<double>(batch.inputs.size());
    const int64_t answer_tokens = batch.answer_tokens();
    if (answer_tokens == 0) continue;
    sums.answer_tokens += static_cast<double>(answer_tokens);
    loss += accumulate_micro_batch(batch);
  }
  sums.loss = loss.item<double>();
  return sums;
}

torch::Tensor Trainer::State::accumulate_micro_batch(const Batch& batch) {
  ForwardContext context;
  context.training = true;
  context.seed = static_cast<uint64_t>(job.train.seed);
  context.step = steps;
  context.global_row = batch.global_row.data();
  context.first_position = batch.first_position.data();
  const torch::Tensor inputs = token_tensor(batch.inputs, batch.rows, batch.time, model->device());
  const Answers answers = answers_of(batch, model->device());
  context.wanted = answers.places;
  const torch::Tensor loss = answer_loss_sum(model->forward(inputs, context), answers.tokens, model->vocabulary());
  loss.backward();
  return loss.detach();
}

std::vector<std::pair<std::string, torch::Tensor>> Trainer::State::named_parts() const {
  const std::pair<const char*, torch::Tensor> buffers[] = {{"weight", parameters.weights()},
                                                           {"first_moment", optimizer.first_moments()},
                                                           {"second_moment", optimizer.second_moments()}};
  std::vector<std::pair<std::string, torch::Tensor>> parts;
  for (const auto& [kind, buffer] : buffers) {
    for (size_t p = 0; p < model->parameters().size(); ++p) {
      parts.emplace_back(fmt::format("{}.{}", kind, model->parameters()[p].name), parameters.part(buffer, p));
    }
  }
  return parts;
}

void Trainer::State::restore(const Checkpoint& checkpoint) {
  std::map<std::string, torch::Tensor> saved(checkpoint.tensors.tensors.begin(), checkpoint.tensors.tensors.end());
  const auto parts = named_parts();
  for (const auto& [name, part] : parts) {
    const auto found = saved.find(name);
    if (found == saved.end()) throw Error(fmt::format("it lacks '{}'", name));
    if (found->second.sizes() != part.sizes() || found->second.dtype() != part.dtype()) {
      throw Error(fmt::format("'{}' has another shape or type than the model's", name));
    }
  }
  for (const auto& [name, part] : parts) part.copy_(saved.at(name));
  steps = checkpoint.step;
  examples = checkpoint.examples;
}

void Trainer::save(const std::string& folder) const {
  write_checkpoint(folder, state_->job.id(), {state_->steps, state_->examples, {state_->named_parts(), {}}});
}

std::string Trainer::load(const std::string& folder) {
  State& s = *state_;
  std::string found;
  if (s.group.rank() == 0) {
    found = restore_newest_checkpoint(folder, s.job.id(), [&](const Checkpoint& checkpoint) { s.restore(checkpoint); });
  }
  int64_t numbers[] = {s.steps, s.examples, static_cast<int64_t>(found.size())};
  s.group.host.broadcast(numbers, std::size(numbers), ElementType::int64, 0);
  s.steps = numbers[0];
  s.examples = numbers[1];
  found.resize(static_cast<size_t>(numbers[2]));
  s.group.host.broadcast(found.data(), found.size(), ElementType::bytes, 0);
  if (found.empty()) return found;
  for (const torch::Tensor& buffer :
       {s.parameters.weights(), s.optimizer.first_moments(), s.optimizer.second_moments()}) {
    s.group.device.broadcast(buffer.data_ptr(), static_cast<size_t>(buffer.numel()), element_type(buffer), 0);
  }
  return found;
}

}  // namespace recite
