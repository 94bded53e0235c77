// What is left to do: the jobs of a sweep against what its results file already holds.
#pragma once

#include <string>
#include <vector>

#include "results/reader.h"
#include "sweep/ledger.h"

namespace recite {

// One entry for each job of the sweep, in its order.
//   not in the file                          planned, row -1: it must be added
//   done, every point measured               done
//   failed                                   failed, or with retry_failed as below
//   model saved                              planned, evaluate_only: it is trained
//   pretrained                               planned: the points that are missing are measured
//   done, points missing                     planned: trained again
//   running, lost, stopped, planned          planned: goes on from its checkpoint
// A job that was done and for which no try was begun since is done, whatever was planned.
std::vector<LedgerEntry> entries_to_resume(const std::vector<Job>& jobs, const ResultsContents& contents,
                                           bool retry_failed, const std::string& results_path);

// Where a job's checkpoints and its saved model are.
std::string job_folder(const std::string& results_path, const Job& job);

// Removes what is in a done job's folder except its saved model and its samples.
void discard_checkpoints(const std::string& folder);

JobRow job_record(const Job& job);

}  // namespace recite
