#include "results/writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "results/codec.h"
#include "results/lock.h"
#include "results/results_file.h"

namespace recite {
namespace {

// Epoch of the last run in the file: the sidecar may have been deleted.
int64_t last_epoch(const Table& runs) {
  return runs.rows() == 0 ? 0 : decode<RunRow>(runs.read(runs.rows() - 1, 1).data()).epoch;
}

// Throws UsageError if the file is there and cannot be gone on with; 0 if it is not there.
int64_t checked_last_epoch(const std::string& path, const std::string& name) {
  if (name.size() > name_bytes) {
    throw UsageError(fmt::format("sweep.name: {} bytes long, at most {} are allowed", name.size(), name_bytes));
  }
  if (!std::filesystem::exists(path)) return 0;
  const FileHandle file = open_to_read(path);
  check_header(read_header(file, path), path, name);
  if (access(path.c_str(), W_OK) != 0) throw UsageError(fmt::format("cannot write {}: {}", path, std::strerror(errno)));
  return last_epoch(open_tables(file, path).runs);
}

// For the holder of the lock.
FileHandle open_or_create(const std::string& path, const std::string& name) {
  // Looks again: another writer may have made the file before this one got the lock.
  checked_last_epoch(path, name);
  try {
    if (!std::filesystem::exists(path)) create_results_file(path, name);
    return open_to_append(path);
  } catch (const Error& error) {
    throw Error(fmt::format("cannot write {}: {}", path, error.what()));
  }
}

}  // namespace

// Open tables go before the file, and the file before its lock.
struct ResultsWriter::State {
  State(const std::string& results_path, const std::string& name);
  ~State();

  template <class Row>
  void append(Table& table, const Row& row, const std::string& row_name);
  void sync();

  // Runs a write. One that fails is the last: whatever has reached the file stays as it is.
  template <class Write>
  void guarded(Write&& write);
  void cut_off();
  void force_to_disk();
  int descriptor();

  std::string path;
  Descriptor nowhere;  // a file in memory, for cut_off()
  WriterLock lock;
  FileHandle file;
  ResultsTables tables;
  std::string failure;  // why nothing more is written
};

ResultsWriter::State::State(const std::string& results_path, const std::string& name)
    : path(results_path),
      nowhere(memfd_create("results", MFD_CLOEXEC)),
      lock(path, checked_last_epoch(path, name)),
      file(open_or_create(path, name)),
      tables(open_tables(file, path)) {}

ResultsWriter::State::~State() {
  if (!failure.empty()) return;
  try {
    guarded([&] {
      lock.renew();
      checked(H5Fflush(file, H5F_SCOPE_LOCAL), "cannot close");
      force_to_disk();
    });
  } catch (const Error&) {
    // Cut off: the file stays as a killed writer leaves it.
  }
}

template <class Row>
void ResultsWriter::State::append(Table& table, const Row& row, const std::string& row_name) {
  const std::vector<std::byte> bytes = encode(row, row_name);
  guarded([&] {
    lock.renew_if_due();
    table.append(bytes);
  });
}

void ResultsWriter::State::sync() {
  guarded([&] {
    lock.renew();
    force_to_disk();
  });
}

void ResultsWriter::State::force_to_disk() {
  if (fsync(descriptor()) != 0) throw Error(std::strerror(errno));
}

template <class Write>
void ResultsWriter::State::guarded(Write&& write) {
  if (!failure.empty()) throw Error(failure);
  try {
    write();
  } catch (const Error& error) {
    failure = fmt::format("cannot write {}: {}. Every row written before is kept", path, error.what());
    cut_off();
    throw Error(failure);
  }
}

int ResultsWriter::State::descriptor() {
  void* descriptor = nullptr;
  checked(H5Fget_vfd_handle(file, H5P_DEFAULT, &descriptor), "cannot find the open file");
  return *static_cast<int*>(descriptor);
}

// Closing the file writes what the library still holds: after a failure half a change, and once another writer has
// taken over an old header over its new one. So the library gets another file to finish with, and ours stays as if the
// process had been killed, from which open_to_append() goes on.
void ResultsWriter::State::cut_off() {
  if (dup3(nowhere, descriptor(), O_CLOEXEC) < 0) std::abort();
}

ResultsWriter::ResultsWriter(const std::string& path, const std::string& sweep_name) {
  // A file that grows too large is an error of the write only if the signal does not end the process first.
  std::signal(SIGXFSZ, SIG_IGN);
  state_ = std::make_unique<State>(path, sweep_name);
}

ResultsWriter::~ResultsWriter() = default;
ResultsWriter::ResultsWriter(ResultsWriter&&) noexcept = default;
ResultsWriter& ResultsWriter::operator=(ResultsWriter&&) noexcept = default;

int32_t ResultsWriter::add_run(RunRow row) {
  row.run = static_cast<int32_t>(state_->tables.runs.rows());
  row.epoch = epoch();
  state_->append(state_->tables.runs, row, "sweep");
  state_->lock.set_run(row.run);
  return row.run;
}

int32_t ResultsWriter::add_job(JobRow row) {
  row.job = static_cast<int32_t>(state_->tables.jobs.rows());
  state_->append(state_->tables.jobs, row, fmt::format("job {} ({} {})", row.job, row.model, row.task));
  return row.job;
}

void ResultsWriter::append(const EventRow& row) { state_->append(state_->tables.events, row, "event"); }
void ResultsWriter::append(const EvaluationRow& row) { state_->append(state_->tables.evaluations, row, "evaluation"); }
void ResultsWriter::append(const TrainingRow& row) { state_->append(state_->tables.training, row, "training step"); }

void ResultsWriter::sync() { state_->sync(); }
int64_t ResultsWriter::epoch() const { return state_->lock.epoch(); }

void check_results_writable(const std::string& path, const std::string& sweep_name) {
  checked_last_epoch(path, sweep_name);
  refuse_if_locked(path);
  const auto folder = std::filesystem::path(path).parent_path();
  const std::string place = folder.empty() ? "." : folder.string();
  if (access(place.c_str(), W_OK | X_OK) != 0) {
    throw UsageError(
        fmt::format("cannot write into {}: {}. Choose another place with -o", place, std::strerror(errno)));
  }
}

}  // namespace recite
