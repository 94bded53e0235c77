#include "pretrained/samples.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "weights/durable_file.h"

namespace recite {

using nlohmann::json;

static void from_json(const json& in, Sample& sample) {
  in.at("index").get_to(sample.index);
  in.at("prompt").get_to(sample.prompt);
  in.at("gold").get_to(sample.gold);
  in.at("prediction").get_to(sample.prediction);
  in.at("exact_match").get_to(sample.exact_match);
  in.at("f1").get_to(sample.f1);
}

void to_json(json& out, const Sample& sample) {
  out = {{"index", sample.index},           {"prompt", sample.prompt},           {"gold", sample.gold},
         {"prediction", sample.prediction}, {"exact_match", sample.exact_match}, {"f1", sample.f1}};
}

std::vector<Sample> gather_samples(const std::vector<Sample>& own, Group group) {
  std::vector<Sample> all;
  for (int root = 0; root < group.size(); ++root) {
    std::string body;  // MessagePack: NaN stays NaN
    if (root == group.rank()) json::to_msgpack(json(own), body);
    int64_t size = static_cast<int64_t>(body.size());
    group.host.broadcast(&size, 1, ElementType::int64, root);
    body.resize(static_cast<size_t>(size));
    group.host.broadcast(body.data(), body.size(), ElementType::bytes, root);
    for (Sample& sample : json::from_msgpack(body).get<std::vector<Sample>>()) all.push_back(std::move(sample));
  }
  std::sort(all.begin(), all.end(), [](const Sample& a, const Sample& b) { return a.index < b.index; });
  return all;
}

void write_samples(const std::string& folder, const EvalPoint& point, const std::vector<Sample>& samples) {
  std::string lines;
  for (const Sample& sample : samples) lines += json(sample).dump() + '\n';
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) throw Error(fmt::format("{}: cannot be made: {}", folder, failed.message()));
  write_durably(fmt::format("{}/samples-{}-{}.jsonl", folder, name_of(point.task), point.length), lines);
}

}  // namespace recite
