#include "results/lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/host.h"

namespace recite {
namespace {

// The sidecar always has this size, padded with blanks: one write replaces it whole.
constexpr size_t sidecar_bytes = 512;

double clock_seconds(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

std::optional<LockHolder> parse(const std::string& text) {
  try {
    const auto json = nlohmann::json::parse(text);
    return LockHolder{json.at("epoch"), json.at("host"), json.at("pid"), json.at("run"), json.at("time")};
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

std::optional<LockHolder> read_holder(int descriptor) {
  std::array<char, sidecar_bytes> text{};
  const ssize_t size = pread(descriptor, text.data(), text.size(), 0);
  return size > 0 ? parse(std::string(text.data(), static_cast<size_t>(size))) : std::nullopt;
}

bool is_silent(const LockHolder& holder) {
  return !(std::abs(clock_seconds(CLOCK_REALTIME) - holder.time) < silence_limit);
}

enum class Flock { taken, held_by_another, not_supported };

// A writer that is just closing, or somebody who only looks, may hold it for a moment.
Flock take_flock(int descriptor, int kind) {
  for (int tries = 0; tries < 6; ++tries) {
    if (flock(descriptor, kind | LOCK_NB) == 0) return Flock::taken;
    if (errno != EWOULDBLOCK && errno != EINTR) return Flock::not_supported;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return Flock::held_by_another;
}

[[noreturn]] void refuse(const std::string& path, const std::optional<LockHolder>& holder) {
  if (!holder || holder->pid == 0) throw UsageError(fmt::format("{}: another process is about to write it", path));
  const double silent_for = clock_seconds(CLOCK_REALTIME) - holder->time;
  throw UsageError(fmt::format(
      "{}: being written by process {} on {}, which last said so {:.0f} s ago. Stop that run or let it end{}, or "
      "choose "
      "another file with -o",
      path, holder->pid, holder->host, silent_for,
      holder->host == host_name() ? "" : fmt::format(" (silent for {:.0f} s, it counts as dead)", silence_limit)));
}

// With the flock in hand nobody of this host writes, and of other hosts nobody whom flock reaches.
void refuse_if_alive(const std::string& path, Flock flock, const std::optional<LockHolder>& holder) {
  if (flock == Flock::held_by_another) refuse(path, holder);
  if (!holder || holder->pid == 0) return;
  const bool known_dead = flock == Flock::taken && holder->host == host_name();
  if (!known_dead && may_be_writing(*holder)) refuse(path, holder);
}

}  // namespace

std::string lock_path(const std::string& results_path) { return results_path + ".lock"; }

std::optional<LockHolder> read_lock(const std::string& results_path) {
  const Descriptor sidecar(open(lock_path(results_path).c_str(), O_RDONLY | O_CLOEXEC));
  return sidecar < 0 ? std::nullopt : read_holder(sidecar);
}

bool may_be_writing(const LockHolder& holder) {
  if (holder.pid == 0) return false;
  if (holder.host == host_name()) return kill(static_cast<pid_t>(holder.pid), 0) == 0 || errno == EPERM;
  return !is_silent(holder);
}

void refuse_if_locked(const std::string& results_path) {
  const Descriptor sidecar(open(lock_path(results_path).c_str(), O_RDONLY | O_CLOEXEC));
  if (sidecar < 0) return;
  refuse_if_alive(results_path, take_flock(sidecar, LOCK_SH), read_holder(sidecar));
}

WriterLock::WriterLock(const std::string& results_path, int64_t last_epoch)
    : results_path_(results_path), sidecar_(open(lock_path(results_path).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
  if (sidecar_ < 0) {
    throw UsageError(fmt::format("cannot write {}: {}. Choose another place with -o", lock_path(results_path),
                                 std::strerror(errno)));
  }
  const Flock flock = take_flock(sidecar_, LOCK_EX);
  const std::optional<LockHolder> before = read_holder(sidecar_);
  refuse_if_alive(results_path, flock, before);

  own_.epoch = std::max(before ? before->epoch : 0, last_epoch) + 1;
  own_.host = host_name();
  own_.pid = getpid();
  write(own_);
}

WriterLock::~WriterLock() {
  try {
    if (is_ours()) write({.epoch = own_.epoch, .host = "", .pid = 0, .run = own_.run, .time = 0});
  } catch (const Error&) {
    // The flock goes all the same, and with it every claim on this host.
  }
}

void WriterLock::renew() {
  if (!is_ours()) {
    const LockHolder other = read_lock(results_path_).value_or(LockHolder{});
    throw Error(fmt::format("{}: another writer ({}, process {}) took over, epoch {} after {}: this one writes no more",
                            results_path_, other.host.empty() ? "its lock file is gone" : other.host, other.pid,
                            other.epoch, own_.epoch));
  }
  write(own_);
}

void WriterLock::renew_if_due() {
  if (clock_seconds(CLOCK_BOOTTIME) - renewed_ >= renewal_period) renew();
}

// By the path, not by the open file: the sidecar may have been replaced, and opening it makes a network file system
// look.
bool WriterLock::is_ours() const {
  const std::optional<LockHolder> found = read_lock(results_path_);
  return found && found->epoch == own_.epoch && found->host == own_.host && found->pid == own_.pid;
}

void WriterLock::write(const LockHolder& holder) {
  const nlohmann::json json = {{"epoch", holder.epoch},
                               {"host", holder.host},
                               {"pid", holder.pid},
                               {"run", holder.run},
                               {"time", clock_seconds(CLOCK_REALTIME)}};
  std::string text = json.dump();
  text.resize(sidecar_bytes - 1, ' ');
  text += '\n';
  const ssize_t written = pwrite(sidecar_, text.data(), text.size(), 0);
  if (written != static_cast<ssize_t>(text.size()) || fdatasync(sidecar_) != 0) {
    throw Error(fmt::format("cannot write {}: {}", lock_path(results_path_), std::strerror(errno)));
  }
  renewed_ = clock_seconds(CLOCK_BOOTTIME);
}

}  // namespace recite
