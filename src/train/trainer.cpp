#include "train/trainer.h"

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <optional>
#include <type_traits>
#include <utility>

#include "ops/gpu.h"
#include "tasks/batch.h"
#include "train/checkpoint.h"
#include "train/flat_parameters.h"
#include "train/loss.h"
#include "train/passes.h"
#include "train/schedule.h"
#include "train/shared_update.h"

namespace recite {

namespace {

// What the host knows of a step's rows, first of this rank's, then of all. Exact in float64 up to 2^53.
struct StepCounts {
  double answer_tokens = 0;
  double examples = 0;
  double tokens = 0;
  double stop_votes = 0, save_votes = 0;
};
static_assert(std::is_standard_layout_v<StepCounts> && sizeof(StepCounts) == 5 * sizeof(double));

void check_finite(double value, const char* what, int64_t step) {
  if (std::isfinite(value)) return;
  throw NotFinite(
      fmt::format("the {} of step {} is {}: try a lower train.learning_rate, a smaller train.gradient_clip, "
                  "or train.precision = float32",
                  what, step, value));
}

// What a checkpoint has of each parameter.
constexpr const char *weight = "weight", *first_moment = "first_moment", *second_moment = "second_moment";
constexpr const char* kinds[] = {weight, first_moment, second_moment};

// A step whose numbers the device may still be working on.
struct StartedStep {
  StepReport report;  // but for loss and grad_norm
  double answer_tokens = 0;
  torch::Tensor sums;  // SharedUpdate::sums(), on the host
  std::optional<c10::Event> ended;
};

}  // namespace

struct Trainer::State {
  State(const Job& job_, torch::Device device, Group group_)
      : job(job_),
        task(job_.task),
        group(group_),
        model(make_model(job.model, vocabulary_size(job.task), job.train.precision, device,
                         static_cast<uint64_t>(job.train.seed))),
        parameters(*model, group.size()),
        update(parameters, job.train.weight_decay, group.device),
        loss(torch::zeros({}, parameters.weights().options().dtype(torch::kFloat64))) {
    // What LibTorch does for float64 may wait for the device.
    passes = make_passes(device, gpu::takes(parameters.weights()));
  }

  std::vector<Batch> micro_batches() const;
  StepCounts count(const std::vector<Batch>& batches, const Votes& own) const;
  // Forward and backward of this rank's rows, a micro batch at a time. The gradient is that of the SUM of the losses.
  void accumulate_gradients(const std::vector<Batch>& batches);
  void pass(const Batch& batch, bool first, bool last);
  void pass_over(const TrainingInputs& inputs, bool first, ForwardContext context);
  // Begins to bring a step's sums to the host.
  void remember(const StepReport& report, double answer_tokens, const torch::Tensor& sums);
  StepReport finish(const StartedStep& step) const;

  // A buffer's parameters by name, as a checkpoint has them. `kind`: weight, first_moment, second_moment.
  std::vector<std::pair<std::string, torch::Tensor>> named_parts(const char* kind, const torch::Tensor& buffer) const;
  // Throws Error, having changed nothing, when the checkpoint is of another model.
  void check_fits(const Checkpoint& checkpoint) const;

  Job job;
  Task task;
  Group group;
  std::unique_ptr<Model> model;
  FlatParameters parameters;
  SharedUpdate update;
  torch::Tensor loss;  // () float64, on the device: the sum of a step's losses
  std::unique_ptr<Passes> passes;
  std::deque<StartedStep> started;
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

size_t Trainer::captured_passes() const { return state_->passes->recorded(); }

Votes Trainer::start_step(const Votes& own) {
  State& s = *state_;
  const TrainSpec& train = s.job.train;
  if (finished()) throw Error(fmt::format("all {} steps of the job are done", s.steps));

  const std::vector<Batch> batches = s.micro_batches();
  const StepCounts counts = s.count(batches, own);
  if (counts.answer_tokens == 0) {
    throw Error(fmt::format("no row of step {} holds a whole example: raise train.context_length", s.steps + 1));
  }
  StepReport report;
  report.step = s.steps + 1;
  report.examples = s.examples + static_cast<int64_t>(counts.examples);
  report.tokens = static_cast<int64_t>(counts.tokens);
  report.learning_rate = learning_rate(train, s.steps);

  s.accumulate_gradients(batches);
  s.update.reducer().complete();
  s.update.reducer().finish();
  const torch::Tensor sums = s.update.sums(s.loss);
  s.update.update({report.learning_rate, report.step, counts.answer_tokens, train.gradient_clip}, sums[1]);
  // Last: once the step's report is there, nothing of it waits for a peer any more.
  s.remember(report, counts.answer_tokens, sums);
  s.steps = report.step;
  s.examples = report.examples;
  return {counts.stop_votes > 0, counts.save_votes > 0};
}

std::vector<StepReport> Trainer::take_reports(size_t leave) {
  std::vector<StepReport> reports;
  for (std::deque<StartedStep>& started = state_->started; started.size() > leave; started.pop_front())
    reports.push_back(state_->finish(started.front()));
  return reports;
}

StepReport Trainer::step() {
  start_step();
  return take_reports().back();
}

std::vector<Batch> Trainer::State::micro_batches() const {
  const int64_t rows = job.train.batch_size;
  const int64_t begin = group.rank() * rows / group.size();
  const int64_t end = (group.rank() + 1) * rows / group.size();
  const int64_t micro = job.train.micro_batch_size > 0 ? job.train.micro_batch_size : end - begin;
  std::vector<Batch> batches;
  for (int64_t first = begin; first < end; first += micro)
    batches.push_back(training_batch(task, job.train, steps, first, static_cast<int>(std::min(micro, end - first))));
  return batches;
}

StepCounts Trainer::State::count(const std::vector<Batch>& batches, const Votes& own) const {
  StepCounts counts;
  counts.stop_votes = own.stop ? 1 : 0;
  counts.save_votes = own.save ? 1 : 0;
  for (const Batch& batch : batches) {
    counts.examples += static_cast<double>(batch.examples);
    counts.tokens += static_cast<double>(batch.inputs.size());
    counts.answer_tokens += static_cast<double>(batch.answer_tokens());
  }
  group.host.all_reduce_sum(&counts, sizeof(counts) / sizeof(double), ElementType::float64);
  return counts;
}

void Trainer::State::accumulate_gradients(const std::vector<Batch>& batches) {
  loss.zero_();
  bool first = true;
  for (const Batch& batch : batches) {
    if (batch.answer_tokens() == 0) continue;
    pass(batch, first, &batch == &batches.back());
    first = false;
  }
  if (first) parameters.gradients().zero_();
}

void Trainer::State::pass(const Batch& batch, bool first, bool last) {
  ForwardContext context;
  context.training = true;
  context.seed = static_cast<uint64_t>(job.train.seed);
  if (last && group.size() > 1) {
    // Not recorded itself: a graph that held a sum would keep the communicator, and aborting that would wait for it.
    context.gradients_complete = [this](const torch::Tensor& from) {
      const torch::Tensor& gradient = parameters.gradient_of(from);
      if (!update.reducer().begins_from(gradient)) return;
      // The sums are of the buffer, where some are not yet.
      parameters.gather_gradients();
      passes->between([this, gradient] { update.reducer().complete_from(gradient); });
    };
  }
  const int kind = (first ? 1 : 0) + (context.gradients_complete ? 2 : 0);
  passes->run(training_inputs(batch, steps, model->device()), kind,
              [&](const TrainingInputs& inputs) { pass_over(inputs, first, context); });
}

void Trainer::State::pass_over(const TrainingInputs& inputs, bool first, ForwardContext context) {
  context.wanted = inputs.answers.places;
  context.row_places = inputs.row_places;
  const torch::Tensor logits = model->forward(inputs.tokens, context);
  const torch::Tensor sum = answer_loss_sum(logits, inputs.answers.tokens, model->vocabulary());
  parameters.accumulate_gradients(first, [&] { sum.backward(); });
  loss += sum.detach();
}

void Trainer::State::remember(const StepReport& report, double answer_tokens, const torch::Tensor& sums) {
  StartedStep step{report, answer_tokens, sums, std::nullopt};
  const torch::Device device = model->device();
  if (!device.is_cpu()) {
    step.sums = torch::empty({2}, torch::TensorOptions().dtype(torch::kFloat64).pinned_memory(true));
    step.sums.copy_(sums, /*non_blocking=*/true);
    step.ended.emplace(device.type());
    step.ended->record(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
  }
  started.push_back(std::move(step));
}

StepReport Trainer::State::finish(const StartedStep& step) const {
  if (step.ended) group.device.wait([&] { return step.ended->query(); }, "training step");
  StepReport report = step.report;
  const auto* sums = step.sums.const_data_ptr<double>();
  report.loss = sums[0] / step.answer_tokens;
  report.grad_norm = std::sqrt(sums[1]) / step.answer_tokens;
  check_finite(report.loss, "loss", report.step);
  check_finite(report.grad_norm, "gradient norm", report.step);
  return report;
}

std::vector<std::pair<std::string, torch::Tensor>> Trainer::State::named_parts(const char* kind,
                                                                               const torch::Tensor& buffer) const {
  std::vector<std::pair<std::string, torch::Tensor>> parts;
  for (size_t p = 0; p < model->parameters().size(); ++p)
    parts.emplace_back(fmt::format("{}.{}", kind, model->parameters()[p].name), parameters.part(buffer, p));
  return parts;
}

void Trainer::State::check_fits(const Checkpoint& checkpoint) const {
  const std::map<std::string, torch::Tensor> saved(checkpoint.tensors.tensors.begin(),
                                                   checkpoint.tensors.tensors.end());
  for (const char* kind : kinds) {
    for (const auto& [name, part] : named_parts(kind, parameters.weights())) {
      const auto found = saved.find(name);
      if (found == saved.end()) throw Error(fmt::format("it lacks '{}'", name));
      if (found->second.sizes() != part.sizes() || found->second.dtype() != part.dtype())
        throw Error(fmt::format("'{}' has another shape or type than the model's", name));
    }
  }
}

void Trainer::save(const std::string& folder) {
  State& s = *state_;
  if (!s.started.empty()) throw Error("a checkpoint before the reports of all steps are taken");
  Checkpoint checkpoint{s.steps, s.examples, {}};
  s.update.gather_weights();
  const auto add = [&](const char* kind, const torch::Tensor& buffer) {
    for (auto& part : s.named_parts(kind, buffer)) checkpoint.tensors.tensors.push_back(std::move(part));
  };
  add(weight, s.parameters.weights());
  torch::Tensor first = s.update.first_moments();
  // Of several ranks the second moments take their place.
  if (s.group.size() > 1 && s.group.rank() == 0) first = first.to(torch::kCPU, /*non_blocking=*/false, /*copy=*/true);
  add(first_moment, first);
  add(second_moment, s.update.second_moments());
  if (s.group.rank() == 0) write_checkpoint(folder, s.job.id(), checkpoint);
}

std::string Trainer::load(const std::string& folder) {
  State& s = *state_;
  std::string found;
  std::map<std::string, torch::Tensor> saved;
  if (s.group.rank() == 0) {
    found = restore_newest_checkpoint(folder, s.job.id(), [&](const Checkpoint& checkpoint) {
      s.check_fits(checkpoint);
      saved = {checkpoint.tensors.tensors.begin(), checkpoint.tensors.tensors.end()};
      s.steps = checkpoint.step;
      s.examples = checkpoint.examples;
    });
  }
  int64_t numbers[] = {s.steps, s.examples, static_cast<int64_t>(found.size()), saved.empty() ? 0 : 1};
  s.group.host.broadcast(numbers, std::size(numbers), ElementType::int64, 0);
  s.steps = numbers[0];
  s.examples = numbers[1];
  found.resize(static_cast<size_t>(numbers[2]));
  s.group.host.broadcast(found.data(), found.size(), ElementType::bytes, 0);
  if (numbers[3] == 0) return found;
  const auto bring = [&](const char* kind, const torch::Tensor& to) -> const torch::Tensor& {
    if (s.group.rank() == 0)
      for (const auto& [name, part] : s.named_parts(kind, to)) part.copy_(saved.at(name));
    s.group.device.broadcast(to.data_ptr(), static_cast<size_t>(to.numel()), element_type(to), 0);
    return to;
  };
  bring(weight, s.parameters.weights());
  s.update.take_weights();
  // A step's first pass writes the gradients anew.
  s.update.take_first_moments(bring(first_moment, s.parameters.gradients()));
  s.update.take_second_moments(bring(second_moment, s.parameters.gradients()));
  return found;
}

}  // namespace recite
