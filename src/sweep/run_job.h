// One try of a job on one rank of its group: train, measure, keep checkpoints.
#pragma once

#include <torch/torch.h>

#include <functional>
#include <string>
#include <vector>

#include "comm/collective.h"
#include "sweep/protocol.h"

namespace recite {

// Where a running try says what it has seen. Only the group's leader says anything but stop_requested.
class TryObserver {
 public:
  virtual ~TryObserver() = default;
  virtual void logged(const TrainingRow& row) = 0;
  virtual void measured(const EvaluationRow& row) = 0;
  virtual void progress(const ProgressReport& report) = 0;
  virtual void note(const std::string& text) = 0;  // for the rank's log
  // Asked before each step and each point, where true says to write a checkpoint and end; and after each batch of an
  // evaluation. May throw to end the try at once.
  virtual bool stop_requested() = 0;
};

// Where a try ended: all its steps and points are done, or it was asked to stop and can go on from its checkpoint.
struct TryResult {
  bool stopped = false;
  int64_t step = 0;
  std::string message = {};  // what the user should know of a try that went well: points that were not run
};

// Whether a rank of the group was asked to stop; the same answer on each.
bool stop_voted(Group group, TryObserver& observer);
// Those of the points that no earlier try measured of the weights as they are after `step`.
std::vector<EvalPoint> points_left(const StartTry& start, std::vector<EvalPoint> points, int64_t step);

// Goes on from the newest whole checkpoint in the try's folder. When it is done, the checkpoints are removed, and with
// run.save_models the trained model is left in folder/model. Rows come with step, examples and what was measured; job,
// try and run are filled in by who receives them.
// It measures the points that earlier tries have not measured of the same weights; between points it can be stopped. A
// pretrained job (run_pretrained.cpp) keeps no checkpoint.
// Throws what Trainer and evaluate throw; the caller makes an outcome of it.
TryResult run_job(const StartTry& start, torch::Device device, Group group, TryObserver& observer);

}  // namespace recite
