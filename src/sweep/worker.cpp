#include "sweep/worker.h"

#include <fmt/format.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>
#include <torch/cuda.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <thread>

#include "base/host.h"
#include "sweep/device.h"
#include "sweep/run_job.h"

namespace recite {

namespace {

// The coordinator took the try back.
struct Abandoned {};
// The coordinator ends the run at once.
struct QuitNow {};

class Worker final : public TryObserver {
 public:
  Worker(Transport& transport, Guard* guard) : transport_(transport), guard_(guard) {}

  bool serve();

  void logged(const TrainingRow& row) override { say(LoggedStep{current_, row}); }
  void measured(const EvaluationRow& row) override { say(MeasuredPoint{current_, row}); }
  void progress(const ProgressReport& report) override { say(report); }
  void note(const std::string& text) override { log_->info("{}", text); }
  bool stop_requested() override {
    hear();
    return stop_;
  }

 private:
  void say(const ToCoordinator& message) { transport_.send(0, encode(message)); }
  void hear();  // takes what has arrived while a try runs
  void set_up(const Setup& setup);
  TryEnded attempt(const StartTry& start);
  TryEnded outcome_of(const StartTry& start);

  Transport& transport_;
  Guard* guard_;
  std::shared_ptr<spdlog::logger> log_ = spdlog::default_logger();
  Setup setup_;
  TryId current_;
  bool stop_ = false;
  std::optional<Quit> quit_;
};

bool Worker::serve() {
  say(Hello{host_name(), getpid(), available_cores(), gpu_names()});
  while (!quit_) {
    const std::optional<Message> message = transport_.receive();
    if (!message) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      continue;
    }
    const ToWorker order = decode_for_worker(message->body);
    if (const auto* setup = std::get_if<Setup>(&order)) set_up(*setup);
    if (const auto* quit = std::get_if<Quit>(&order)) quit_ = *quit;
    if (const auto* start = std::get_if<StartTry>(&order)) say(attempt(*start));
  }
  log_->flush();
  return quit_->some_rank_was_lost;
}

void Worker::hear() {
  if (guard_) guard_->beat();
  while (const std::optional<Message> message = transport_.receive()) {
    const ToWorker order = decode_for_worker(message->body);
    if (std::holds_alternative<Drain>(order)) stop_ = true;
    if (const auto* abandon = std::get_if<AbandonTry>(&order); abandon != nullptr && abandon->id == current_)
      throw Abandoned{};
    if (const auto* quit = std::get_if<Quit>(&order)) {
      quit_ = *quit;
      throw QuitNow{};
    }
  }
}

void Worker::set_up(const Setup& setup) {
  setup_ = setup;
  if (!setup.log_path.empty()) {
    std::filesystem::create_directories(std::filesystem::path(setup.log_path).parent_path());
    log_ = spdlog::basic_logger_mt(setup.log_path, setup.log_path);
    log_->flush_on(spdlog::level::info);
  }
  at::set_num_threads(setup.threads);
  // NCCL refuses two ranks of one host on one device: each has to be a host of its own.
  if (setup.shares_gpu) setenv("NCCL_HOSTID", fmt::format("{}-{}", host_name(), transport_.rank()).c_str(), 1);
  log_->info("worker {} of {}, {} threads, pid {}", transport_.rank(), transport_.size() - 1, setup.threads, getpid());
}

TryEnded Worker::attempt(const StartTry& start) {
  current_ = start.id;
  stop_ = false;
  log_->info("{}: try {} as one of {} ranks", start.job.label(), start.id.attempt, start.ranks.size());
  if (guard_) guard_->watch(start.job.run.stall_timeout);
  TryEnded ended = outcome_of(start);
  if (guard_) guard_->watch(0);
  ended.id = start.id;
  log_->info("{}: {} at step {}{}{}", start.job.label(), name_of(ended.state), ended.step,
             ended.message.empty() ? "" : ": ", ended.message);
  current_ = {};
  release_device_memory();
  return ended;
}

// The boundary of a job: whatever goes wrong inside becomes a value here, and the worker lives on.
TryEnded Worker::outcome_of(const StartTry& start) {
  try {
    const torch::Device device = choose_device(start.job.run.device, setup_.device_index);
    GroupRequest request{start.ranks, start.group_name, device.is_cuda(), start.job.run.stall_timeout,
                         [this] { hear(); }};
    const std::unique_ptr<FormedGroup> formed = transport_.form_group(request);
    const TryResult result = run_job(start, device, formed->group(), *this);
    return {start.id, result.stopped ? JobState::stopped : JobState::done, result.step, result.message};
  } catch (const PeerLost& problem) {
    return {start.id, JobState::lost, 0, problem.what()};
  } catch (const Abandoned&) {
    return {start.id, JobState::lost, 0, "abandoned: another rank of the group failed"};
  } catch (const QuitNow&) {
    return {start.id, JobState::stopped, 0, "ended at once"};
  } catch (const CoordinatorLost&) {
    throw;
  } catch (const std::exception& problem) {
    return {start.id, JobState::failed, 0, explain_failure(problem, start.job)};
  }
}

}  // namespace

bool run_worker(Transport& transport, Guard* guard) { return Worker(transport, guard).serve(); }

}  // namespace recite
