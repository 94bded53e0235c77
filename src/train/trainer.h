// Data-parallel training of one model on one task.
#pragma once

#include <torch/torch.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/collective.h"
#include "jobs/job.h"
#include "models/model.h"
#include "tasks/task.h"

namespace recite {

// The loss was not finite: the weights are none to keep.
class NotFinite : public Error {
 public:
  using Error::Error;
};

struct StepReport {
  int64_t step = 0;      // updates done, this one included
  int64_t examples = 0;  // whole strings seen so far, over all ranks
  int64_t tokens = 0;    // of this step's global batch, padding included
  double loss = 0;       // mean over the answer tokens of the global batch
  double learning_rate = 0;
  double grad_norm = 0;  // before clipping
};

// What a rank asks of its group, and what it agrees on: that which some rank asked for.
struct Votes {
  bool stop = false;  // the training
  bool save = false;  // a checkpoint
};

// One rank of a job's group. Every rank constructs it with the same job; what passes read of the weights, and the step,
// agree on all ranks after construction and after every step.
//
// The loss is the sum of cross-entropies over the answer tokens of the GLOBAL batch divided by their number, so G ranks
// train as one does, up to rounding.
class Trainer {
 public:
  Trainer(const Job& job, torch::Device device, Group group);
  ~Trainer();

  // One update: strings, forward, backward (in micro batches), reduction, clipping, AdamW. On a GPU it is queued: the
  // host goes on, makes the next step's strings, and learns the numbers later. `own` votes ride along with the counts
  // of the ranks' answers: returns those of all ranks, the same on each. Throws PeerLost, c10::OutOfMemoryError, Error
  // when no row holds a whole example.
  Votes start_step(const Votes& own = {});
  // What the steps started gave, oldest first; at most `leave` of them may stay under way, for the next call.
  // Throws NotFinite, PeerLost.
  std::vector<StepReport> take_reports(size_t leave = 0);
  // Both, for a single step.
  StepReport step();

  bool finished() const;  // all steps of the job are started
  int64_t steps_done() const;
  int64_t examples_done() const;
  // Its forward passes are of the weights as the last step left them. Its parameters(), where it rounds weights and
  // there are several ranks, are those of the last save() or load().
  Model& model();
  size_t captured_passes() const;  // those over the model that are recorded

  // Checkpoints in `folder`: step-N.safetensors (weights, moments) and step-N.json (step, examples, job id, CRC-32,
  // size). save() is called by every rank, when every report is taken (a step may have shown that the weights are none
  // to keep); rank 0 writes: beside, forced to the disk, renamed; the last two are kept. Throws PeerLost, Error.
  void save(const std::string& folder);
  // Called by every rank: rank 0 finds the newest checkpoint that is whole and of this job, and all ranks take it over.
  // Returns what it says to the log ("step 400 from step-400.safetensors; step-450 is damaged: ..."), "" when there is
  // none.
  std::string load(const std::string& folder);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace recite
