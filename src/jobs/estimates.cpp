#include <algorithm>

#include "jobs/job.h"

namespace recite {

namespace {

int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// GPT-NeoX: fused qkv, output, MLP, each with a bias; two LayerNorms a layer and a last one; embeddings in and out.
int64_t transformer_parameters(const ModelSpec& model, int64_t vocabulary) {
  const int64_t h = model.hidden_size, m = model.mlp_size();
  const int64_t attention = 3 * h * h + 3 * h + h * h + h;
  const int64_t mlp = m * h + m + h * m + h;
  const int64_t norms = 2 * 2 * h;
  const int64_t embeddings = model.tied_embeddings ? 1 : 2;
  return model.layers * (attention + mlp + norms) + 2 * h + embeddings * vocabulary * h;
}

// Mamba-1, with a tied head.
int64_t mamba_parameters(const ModelSpec& model, int64_t vocabulary) {
  const int64_t h = model.hidden_size, state = model.state_dim, inner = model.inner_size(), rank = model.delta_rank();
  const int64_t projections = h * 2 * inner + inner * (rank + 2 * state) + rank * inner + inner + inner * h;
  const int64_t convolution = inner * model.conv_width + inner;
  const int64_t scan = inner * state + inner;
  const int64_t rows = ceil_divide(vocabulary, model.vocabulary_multiple) * model.vocabulary_multiple;
  return model.layers * (projections + convolution + scan + h) + h + rows * h;
}

// PyTorch's LSTM: four gates over input and state, two biases each; embedding as wide as the state, head with a bias.
int64_t lstm_parameters(int64_t h, int64_t layers, int64_t vocabulary) {
  return layers * (2 * 4 * h * h + 2 * 4 * h) + vocabulary * h + vocabulary * h + vocabulary;
}

// Values that one token leaves in one layer for the backward pass, in units of hidden_size: those of the compute
// precision, and those of the master precision.
struct Kept {
  double compute, master;
};

Kept kept_per_token(const ModelSpec& model, bool narrow) {
  switch (model.architecture) {
    case Architecture::mamba: {  // the scan and the convolution work on master values; (D, N) states every 16 tokens
      const double scan = 10 + 2.0 * model.state_dim / 16;  // residual, x, z, delta, convolution, y
      return narrow ? Kept{9, scan} : Kept{0, scan + 4};
    }
    case Architecture::lstm:  // input, gates, cell, its tanh, state, dropout, the library's workspace
      return {13, narrow ? 4.0 : 0.0};
    default:  // residual, two norms, qkv, attention, MLP before and after its GELU; attention works on master values
      return {16, narrow ? 4.0 : 0.0};
  }
}

// Prompts of one point: whole batches, or what a bin of SQuAD holds at most.
int prompts_of_point(const Job& job) {
  return job.task.kind == TaskKind::squad ? job.pretrained.squad_contexts : job.eval.batch_size * job.eval.num_batches;
}

// About the tokens of a prompt with the longest answer that is waited for.
double tokens_of_prompt(const Job& job, int length) {
  switch (job.task.kind) {
    case TaskKind::c4_copy:
      return 2.0 * length + (length + 50.0);
    case TaskKind::phone_book:
      return 16.0 * (length + 3) + 50;  // a line: two names of a few tokens, ten digits
    default:
      return length + 60.0 + 200;  // two questions and an answer
  }
}

// What a transformer or mamba remembers of a sequence of `tokens`, in values of the compute precision: keys and values,
// or the states of the scan (of four bytes) and the convolution.
double remembered_bytes(const ModelSpec& model, double tokens, double value) {
  if (model.architecture == Architecture::mamba) {
    return model.layers * static_cast<double>(model.inner_size()) * (model.state_dim * 4.0 + model.conv_width * value);
  }
  return model.layers * 2.0 * model.hidden_size * tokens * value;
}

double bytes_per_value(Precision precision) {
  switch (precision) {
    case Precision::bf16:
    case Precision::float16:
      return 2;
    case Precision::float64:
      return 8;
    default:
      return 4;
  }
}

constexpr double program = 470e6;       // code and libraries, LibTorch above all
constexpr double fragmentation = 1.15;  // what the allocator keeps beyond what is in use

double memory_to_evaluate(const Job& job) {
  const double value = bytes_per_value(job.train.precision);
  const int rows = std::min(job.eval.batch_size, prompts_of_point(job));
  double largest = 0;
  for (const EvalPoint& point : eval_points(job)) {
    const double tokens = tokens_of_prompt(job, point.length);
    const double passing = 8.0 * job.model.hidden_size * tokens * value;  // of the prompts, in one layer at a time
    largest = std::max(largest, remembered_bytes(job.model, tokens, value) + passing);
  }
  return program + fragmentation * (static_cast<double>(job.folder.parameters) * value + rows * largest);
}

}  // namespace

int64_t parameter_count(const ModelSpec& model, const TaskSpec& task) {
  return parameter_count(model, int64_t{vocabulary_size(task)});
}

int64_t parameter_count(const ModelSpec& model, int64_t vocabulary) {
  switch (model.architecture) {
    case Architecture::mamba:
      return mamba_parameters(model, vocabulary);
    case Architecture::lstm:
      return lstm_parameters(model.hidden_size, model.layers, vocabulary);
    default:
      return transformer_parameters(model, vocabulary);
  }
}

int64_t parameter_count(const Job& job) {
  return job.is_pretrained() ? job.folder.parameters : parameter_count(job.model, job.task);
}

double job_tokens(const Job& job) {
  if (job.is_pretrained()) {
    double tokens = 0;
    for (const EvalPoint& point : eval_points(job))
      tokens += prompts_of_point(job) * tokens_of_prompt(job, point.length);
    return tokens;
  }
  return static_cast<double>(job.train.total_steps()) * job.train.batch_size * job.train.context_length;
}

double job_cost(const Job& job) { return job_tokens(job) * static_cast<double>(parameter_count(job)); }

void sort_by_cost(std::vector<Job>& jobs) {
  std::stable_sort(jobs.begin(), jobs.end(), [](const Job& a, const Job& b) { return job_cost(a) > job_cost(b); });
}

int64_t job_steps(const Job& job) {
  return job.is_pretrained() ? static_cast<int64_t>(eval_points(job).size()) : job.train.total_steps();
}

bool can_be_shared(const Job& job, int ranks) { return job.is_pretrained() || job.train.batch_size % ranks == 0; }

double estimated_memory(const Job& job) {
  if (job.is_pretrained()) return memory_to_evaluate(job);
  constexpr double passing_gradients = 10;  // of one layer at a time, values a token in units of hidden_size
  const double master = job.train.precision == Precision::float64 ? 8 : 4;
  const double value = bytes_per_value(job.train.precision);
  const bool narrow = value < master;
  // Weights, gradients and what passes read, whole; of the rank's share the moments and, where ranks share the update
  // (train/shared_update.h), weights, sums of gradients and copies in buffers of their own.
  const int ranks = std::max(1, job.ranks);
  const double copies = narrow ? value : 0, share = (ranks > 1 ? 4 * master + copies : 2 * master) / ranks;
  const double weights = (2 * master + copies + share) * static_cast<double>(parameter_count(job.model, job.task));

  const int rank_rows = std::max(1, job.train.batch_size / ranks);
  const int rows = job.train.micro_batch_size > 0 ? std::min(job.train.micro_batch_size, rank_rows) : rank_rows;
  const double tokens = static_cast<double>(rows) * job.train.context_length;
  const Kept kept = kept_per_token(job.model, narrow);
  const double per_token = job.model.layers * (kept.compute * value + kept.master * master) + passing_gradients * value;
  const double logits = tokens * vocabulary_size(job.task) * 3 * master;
  return program + fragmentation * (weights + tokens * job.model.hidden_size * per_token + logits);
}

}  // namespace recite
