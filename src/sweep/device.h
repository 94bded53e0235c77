// The hardware that a worker computes on, and what to say when it is too small.
#pragma once

#include <torch/torch.h>

#include <exception>
#include <string>
#include <vector>

#include "jobs/job.h"

namespace recite {

std::vector<std::string> gpu_names();  // CUDA devices that this process sees; none in a CPU build

// automatic: the GPU if there is one. `index` counts the workers of a host and wraps around its devices; the device
// becomes the current one. Throws Error when a GPU was asked for and there is none.
torch::Device choose_device(DeviceKind kind, int index);
// The same for a process that has its host to itself, and run.threads threads of it (0: one for each core).
torch::Device take_device(const RunSpec& run);

// Gives cached blocks of a finished try back to the device.
void release_device_memory();

// The message for the results file. Out of memory: the bytes wanted, and the option that makes the job smaller.
std::string explain_failure(const std::exception& problem, const Job& job);

}  // namespace recite
