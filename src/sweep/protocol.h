// What the coordinator and the workers say to each other: small values, carried as MessagePack (doubles keep their
// bits, NaN included).
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "jobs/job.h"
#include "results/rows.h"

namespace recite {

// A try of a job: whatever is said about another one is out of date, and dropped.
struct TryId {
  int32_t job = -1;
  int32_t attempt = 0;
  bool operator==(const TryId&) const = default;
};

// --- worker -> coordinator ---

// First of all: who is there.
struct Hello {
  std::string host;
  int64_t pid = 0;
  int cores = 0;
  std::vector<std::string> gpus;  // names of the CUDA devices that this rank sees
};

// How far a running try is; from the group's leader, a few times a second.
struct ProgressReport {
  TryId id;
  int64_t step = 0;  // of job_steps()
  double loss = not_measured;
  double accuracy = not_measured;  // string accuracy measured last
  double tokens_per_second = not_measured;
  std::string phase;  // training, loading, evaluating
};

struct MeasuredPoint {
  TryId id;
  EvaluationRow row;
};

struct LoggedStep {
  TryId id;
  TrainingRow row;
};

// The end of a try on one rank. Every rank of the group sends one.
struct TryEnded {
  TryId id;
  JobState state = JobState::done;  // done, failed, stopped (a checkpoint was written), lost (a peer was)
  int64_t step = 0;
  std::string message;
};

// --- coordinator -> worker ---

// Once, after every worker has said hello.
struct Setup {
  int device_index = 0;  // among the GPUs that the worker sees
  int threads = 1;
  bool shares_gpu = false;  // with another worker of the host: there are more workers than GPUs
  std::string log_path;
};

struct StartTry {
  TryId id;
  Job job;
  std::vector<int> ranks;  // the group, the leader first
  std::string group_name;
  std::string folder;          // for checkpoints and, when asked for, the trained model or the samples
  bool evaluate_only = false;  // the trained model is in `folder`: measure it, do not train
  // Points that earlier tries measured of the weights as they are after that step (of a pretrained job 0).
  int64_t measured_step = 0;
  std::vector<EvalPoint> measured;
};

struct AbandonTry {
  TryId id;
};

struct Drain {};  // write a checkpoint, end the try, take no more

struct Quit {
  bool some_rank_was_lost = false;  // then MPI_Finalize could hang
};

using ToCoordinator = std::variant<Hello, ProgressReport, MeasuredPoint, LoggedStep, TryEnded>;
using ToWorker = std::variant<Setup, StartTry, AbandonTry, Drain, Quit>;

std::string encode(const ToCoordinator& message);
std::string encode(const ToWorker& message);
// Throw Error when the bytes are no such message.
ToCoordinator decode_for_coordinator(const std::string& body);
ToWorker decode_for_worker(const std::string& body);

}  // namespace recite
