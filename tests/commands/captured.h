// Runs the program inside a test.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "commands/dispatch.h"

namespace recite {

struct Ran {
  int code = 0;
  std::string out;
  std::string err;
};

inline Ran ran(const std::vector<std::string>& words) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Ran result;
  result.code = run_program(words);
  result.out = testing::internal::GetCapturedStdout();
  result.err = testing::internal::GetCapturedStderr();
  return result;
}

}  // namespace recite
