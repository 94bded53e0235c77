// What a model was asked and answered, prompt by prompt.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "comm/collective.h"
#include "jobs/specs.h"

namespace recite {

struct Sample {
  int64_t index = 0;  // of the prompt
  std::string prompt;
  std::vector<std::string> gold;  // the right answers
  std::string prediction;         // the answer, cut and stripped
  double exact_match = 0;
  double f1 = 0;  // NaN, and null in JSON, but for squad
};

void to_json(nlohmann::json&, const Sample&);

// Those of all ranks, on every rank, by index. Every rank of the group must call it.
std::vector<Sample> gather_samples(const std::vector<Sample>& own, Group group);

// FOLDER/samples-TASK-LENGTH.jsonl: a JSON object a line, by index. The file is whole or not there. Throws Error.
void write_samples(const std::string& folder, const EvalPoint& point, const std::vector<Sample>& samples);

}  // namespace recite
