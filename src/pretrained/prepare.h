// What can be known of pretrained jobs before any starts.
#pragma once

#include <vector>

#include "jobs/job.h"

namespace recite {

// Looks at every file that the pretrained jobs among `jobs` name, each once, but reads no weights: fills in what the
// folders say (Job::model, Job::folder) and, where squad has no lengths, those of all its bins; then sorts by cost
// again.
//
// Throws UsageError that names the file: all folders of models that are missing; a folder, tokenizer or text that is
// damaged or not understood, a tokenizer or text that is missing; a tokenizer with more numbers than the model's
// embedding has rows; texts that are too short for a length.
void prepare_pretrained(std::vector<Job>& jobs);

}  // namespace recite
