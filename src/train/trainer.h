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
  double grad_norm = 0;     // before clipping
  bool stop_voted = false;  // some rank asked to stop (start_step's argument)
};

// One rank of a job's group. Every rank constructs it with the same job; weights, moments and step agree on all ranks
// after construction and after every step.
//
// The loss is the sum of cross-entropies over the answer tokens of the GLOBAL batch divided by their number, so G ranks
// train as one does, up to rounding.
class Trainer {
 public:
  Trainer(const Job& job, torch::Device device, Group group);
  ~Trainer();

  // One update: strings, forward, backward (in micro batches), reduction, clipping, AdamW. On a GPU it is queued: the
  // host goes on, makes the next step's strings, and learns the numbers later. `vote_stop` rides along with the counts
  // of the ranks' answers: returns whether any rank voted for it, the same on all. Throws PeerLost,
  // c10::OutOfMemoryError, Error when no row holds a whole example.
  bool start_step(bool vote_stop = false);
  // What the steps started gave, oldest first; at most `leave` of them may stay under way, for the next call.
  // Throws NotFinite, PeerLost.
  std::vector<StepReport> take_reports(size_t leave = 0);
  // Both, for a single step.
  StepReport step(bool vote_stop = false);

  bool finished() const;  // all steps of the job are started
  int64_t steps_done() const;
  int64_t examples_done() const;
  Model& model();
  size_t captured_passes() const;  // those over the model that are recorded

  // Checkpoints in `folder`: step-N.safetensors (weights, moments) and step-N.json (step, examples, job id, CRC-32,
  // size). save() is called by the group's rank 0 alone, when every report is taken (a step may have shown that the
  // weights are none to keep): written beside, forced to the disk, renamed; the last two are kept.
  void save(const std::string& folder) const;
  // Called by every rank: rank 0 finds the newest checkpoint that is whole and of this job, and all ranks take it over.
  // Returns what it says to the log ("step 400 from step-400.safetensors; step-450 is damaged: ..."), "" when there is
  // none.
  std::string load(const std::string& folder);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace recite
