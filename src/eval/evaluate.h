// How often a model is right on the evaluation strings of a task.
#pragma once

#include <functional>
#include <vector>

#include "comm/collective.h"
#include "jobs/job.h"
#include "models/model.h"
#include "results/rows.h"

namespace recite {

// Measures `point` with eval.num_batches x eval.batch_size strings; batch i is measured by rank i mod G, and every rank
// returns the same row (task, n_gram, length, mode, n and the accuracies; the caller fills job, try, run, step,
// examples).
//
// teacher_forced: argmax over the task's tokens at each answer position, given the true tokens before it. greedy: each
// argmax is read back, for exactly as many tokens as the answer has. string_accuracy: the whole answer right, without
// the end mark; char_accuracy: matching letters / letters. string_accuracy_std: over the batches, of the population
// (numpy.std).
// `between_batches` is called after each batch; it may throw.
EvaluationRow evaluate(Model& model, const Job& job, const EvalPoint& point, Group group,
                       const std::function<void()>& between_batches = {});

// Standard deviation of the population (numpy.std). Of at least one value.
double population_deviation(const std::vector<double>& values);

// Wilson score interval at 95 % for `right` of `n`.
struct Interval {
  double low, high;
};
Interval wilson_interval(double right, double n);

}  // namespace recite
