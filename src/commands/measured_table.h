// Measured points as a table for the terminal.
#pragma once

#include <iosfwd>
#include <vector>

#include "jobs/job.h"
#include "results/reader.h"

namespace recite {

// Letters, exact match and F1 have columns where there are any.
void print_measured(std::ostream& out, const std::vector<EvaluationRow>& rows);

// Those rows of `contents` that belong to `jobs`, at each one's last step.
std::vector<EvaluationRow> final_rows(const ResultsContents& contents, const std::vector<Job>& jobs);

}  // namespace recite
