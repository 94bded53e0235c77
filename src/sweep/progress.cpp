#include "sweep/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ostream>

#include "base/text.h"

namespace recite {

namespace {

constexpr int plain_width = 200;

std::string number(const char* format, double value) {
  return std::isfinite(value) ? fmt::format(fmt::runtime(format), value) : "-";
}

std::string bar(double fraction, int width) {
  const int filled = static_cast<int>(std::lround(std::clamp(fraction, 0.0, 1.0) * width));
  std::string text = "[";
  for (int i = 0; i < width; ++i) text += i < filled ? '#' : '.';
  return text + "]";
}

std::string sweep_line(const SweepSnapshot& s) {
  const int ended = s.done + s.failed;
  std::string line =
      fmt::format("{} {}/{} jobs", bar(s.total() > 0 ? double(ended) / s.total() : 0, 20), ended, s.total());
  line += fmt::format(" | {} running, {} planned, {} failed", s.running, s.planned, s.failed);
  line += fmt::format(" | {} | {}", counted(s.workers, "worker"), duration(s.elapsed));
  if (std::isfinite(s.seconds_left)) line += fmt::format(", about {} left", duration(s.seconds_left));
  if (s.draining) line += " | stopping";
  return line;
}

std::string job_line(const RunningJob& job) {
  const double fraction = job.steps > 0 ? static_cast<double>(job.step) / static_cast<double>(job.steps) : 0;
  std::string line = fmt::format("  {} {:<28} {:>6}/{}", bar(fraction, 10), job.label, job.step, job.steps);
  line += fmt::format("  loss {:<7} acc {:<6}", number("{:.4f}", job.loss), number("{:.3f}", job.accuracy));
  line += fmt::format(" {:>9} tok/s", std::isfinite(job.tokens_per_second) ? with_prefix(job.tokens_per_second) : "-");
  if (job.phase == "training" && std::isfinite(job.seconds_left))
    line += fmt::format("  {} left", duration(job.seconds_left));
  if (job.phase != "training") line += "  " + job.phase;
  return line;
}

}  // namespace

std::vector<std::string> progress_lines(const SweepSnapshot& snapshot, int columns) {
  std::vector<std::string> lines{sweep_line(snapshot)};
  for (const RunningJob& job : snapshot.jobs) lines.push_back(job_line(job));
  for (std::string& line : lines) line.resize(std::min(line.size(), static_cast<size_t>(columns)));
  return lines;
}

ProgressView::ProgressView(std::ostream& out, int columns) : out_(out), columns_(columns) {}

ProgressView::~ProgressView() { erase_block(); }

bool ProgressView::due() const { return seconds_since(last_) >= (columns_ > 0 ? 0.25 : 10); }

void ProgressView::update(const SweepSnapshot& snapshot) {
  last_ = Clock::now();
  erase_block();
  const std::vector<std::string> lines = progress_lines(snapshot, columns_ > 0 ? columns_ : plain_width);
  for (const std::string& line : lines) out_ << line << '\n';
  out_.flush();
  if (columns_ > 0) block_lines_ = lines.size();
}

void ProgressView::say(const std::string& line) {
  erase_block();
  out_ << line << std::endl;
}

// Up by the lines of the block, and everything below is cleared.
void ProgressView::erase_block() {
  if (block_lines_ > 0) out_ << "\x1b[" << block_lines_ << "A\x1b[J" << std::flush;
  block_lines_ = 0;
}

int terminal_columns() {
  if (const char* told = std::getenv("RECITE_COLUMNS")) return std::max(0, std::atoi(told));
  if (isatty(STDOUT_FILENO) == 0) return 0;
  winsize size{};
  const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

}  // namespace recite
