// A job: train one model on one task, or read a pretrained one from a folder, and measure it at many points.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "jobs/specs.h"

namespace recite {

struct Job {
  TaskSpec task;
  ModelSpec model;  // of a pretrained job: what the folder says, once it was read
  PretrainedSpec pretrained;
  FolderFacts folder;  // of a pretrained job
  TrainSpec train;
  EvalSpec eval;
  RunSpec run;
  int ranks = 1;  // workers that train it together

  // It evaluates a model of a folder, and trains nothing.
  bool is_pretrained() const { return !pretrained.model.empty(); }

  // 16 hexadecimal digits: a hash of what changes the trained weights (task, model, train, and eval's
  // stop_at_accuracy with what it looks at). Not of evaluation lengths, ranks, micro batches, logging, device or paths,
  // nor of options that this model or task does not use.
  // Of a pretrained job: of what changes its prompts and answers (the files, by their names as written; the task and
  // its options; eval.seed, train.precision).
  std::string id() const;

  // The architecture, or the last part of the pretrained model's folder.
  std::string model_name() const;

  // "hard_alibi copy 5..20 seed 1", "pythia-410m c4_copy random seed 0"
  std::string label() const;
};

void to_json(nlohmann::json&, const Job&);
void from_json(const nlohmann::json&, Job&);

// Tokens of the model's vocabulary: letters and the four marks.
inline int vocabulary_size(const TaskSpec& task) { return task.vocab_size + 4; }

// Parameters of the model, exactly as models/ builds it (mamba's vocabulary padded to a multiple of 8).
int64_t parameter_count(const ModelSpec& model, const TaskSpec& task);
int64_t parameter_count(const ModelSpec& model, int64_t vocabulary);
// The same, or what the pretrained model's folder holds.
int64_t parameter_count(const Job& job);

// Tokens that training reads: steps x batch x context, of all ranks together. Of a pretrained job about the tokens of
// its prompts and of the longest answers.
double job_tokens(const Job& job);
// Tokens x parameters, in proportion to which jobs of one kind take time: sweeps start with the largest.
double job_cost(const Job& job);
void sort_by_cost(std::vector<Job>& jobs);  // the largest first

// What a job's progress counts: updates of training; of a pretrained job, measured points.
int64_t job_steps(const Job& job);

// `ranks` workers can do the job together.
bool can_be_shared(const Job& job, int ranks);

// Bytes that a rank needs at the peak of training, an estimate that measured peaks on the CPU lie within 1.2 times of:
//   the program and its libraries     470 MB; the rest 1.15 times, for what the allocator keeps beyond what is in use
//   weights, gradients, two moments   16 B a parameter (32 B in float64), and a 2 B copy of the weights in bf16
//   activations of one micro batch    for each token and layer some 13 to 16 values of hidden_size each
//   logits, their softmax, gradient   for each token 3 x vocabulary values
// Of a pretrained job: the program, the weights, and what the model remembers of a batch of prompts and answers.
double estimated_memory(const Job& job);

// Every point that the job's evaluation measures, in the order in which it does.
std::vector<EvalPoint> eval_points(const Job& job);

// Throws UsageError, naming the option, what it is and what is allowed, where the parts of the job do not fit together:
// lengths against the context, heads against hidden_size, masked heads, n-gram against lengths, batch against ranks,
// ... (PAPER facts: copy needs 2 * max_length + 3 tokens). Called for each job before any starts.
void check_job(const Job& job);

}  // namespace recite
