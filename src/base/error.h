// Errors and exit codes of the whole program.
//
// Library code throws; only two places catch: main (prints the message, returns the exit code) and the boundary of a
// job in a worker (makes the message an event of the results file).
#pragma once

#include <stdexcept>
#include <string>

namespace recite {

// Something failed while running. The message says what and where; it is shown to the user as it stands.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The user asked for something that cannot be done: found before any work starts. The message names the option, what it
// is, and what is allowed.
class UsageError : public Error {
 public:
  using Error::Error;
};

enum class ExitCode : int {
  done = 0,         // every job is done
  internal = 1,     // a defect or a broken machine
  usage = 2,        // wrong use; nothing was started
  jobs_failed = 3,  // the sweep ended, and some jobs failed for good
  stopped = 75,     // stopped early: the same command goes on (EX_TEMPFAIL)
};

}  // namespace recite
