// Checkpoints on the disk: step-N.safetensors, and step-N.json that says what it is and how to know that it is whole.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "weights/safetensors.h"

namespace recite {

struct Checkpoint {
  int64_t step = 0;
  int64_t examples = 0;
  TensorFile tensors;
};

// Makes `folder` where it is missing, writes both files (each whole or not there, the JSON last), and removes all but
// this checkpoint and the one before it. Throws Error.
void write_checkpoint(const std::string& folder, const std::string& job_id, const Checkpoint& checkpoint);

// The step of the newest one there, whole or not; nothing without any.
std::optional<int64_t> newest_checkpoint_step(const std::string& folder);

// Reads the newest checkpoint that is whole, of this job, and that `restore` takes; restore throws Error, having
// changed nothing, for one that does not fit. Returns what to say of it: "step 400 from step-400.safetensors; step-450
// is damaged: ...", "" when the folder has no checkpoint. What it finds on the disk is no error; else throws what
// restore and reading do: std::bad_alloc, c10::Error.
std::string restore_newest_checkpoint(const std::string& folder, const std::string& job_id,
                                      const std::function<void(const Checkpoint&)>& restore);

}  // namespace recite
