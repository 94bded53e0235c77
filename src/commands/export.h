// The tables of a results file as CSV (RFC 4180): a line of column names, then a line a row. Numbers have as many
// digits as tell them apart; what was not measured is empty.
#pragma once

#include <iosfwd>
#include <string>

#include "results/reader.h"

namespace recite {

// `table`: runs, jobs, events, evaluations or training, with the columns of results/format.h. Evaluations have before
// them, of their job: id, model, train_task, train_min_length, train_max_length, seed, learning_rate, parameters.
// Of points that were measured in several tries, and of steps trained again, the last counts (results/reader.h), unless
// `every_try`. Throws UsageError for another table.
void write_csv(std::ostream& out, const ResultsContents& contents, const std::string& table, bool every_try);

}  // namespace recite
