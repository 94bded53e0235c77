// Speed of the tokenizer on one core: of whole files, and of their lines one by one.
//
//   tokenizer_bench TOKENIZER TEXT...
//
// Prints for each text MB/s (10^6 bytes of UTF-8 a second of CPU time) of encoding and of decoding, medians of several
// runs.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <exception>
#include <fstream>
#include <iterator>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace {

constexpr int runs = 7;

std::string contents(const char* path) {
  std::ifstream stream(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  if (!stream || text.empty()) throw std::runtime_error(fmt::format("{}: cannot be read, or is empty", path));
  return text;
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size() - 1) + 1;
    lines.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return lines;
}

// Megabytes a second of CPU time: the median.
template <class Work>
double speed(size_t bytes, const Work& work) {
  std::vector<double> seconds;
  for (int run = 0; run < runs; ++run) {
    const std::clock_t start = std::clock();
    work();
    seconds.push_back(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  }
  std::nth_element(seconds.begin(), seconds.begin() + runs / 2, seconds.end());
  return static_cast<double>(bytes) / seconds[runs / 2] / 1e6;
}

void measure(const recite::Tokenizer& tokenizer, const char* path) {
  const std::string text = contents(path);
  const std::vector<std::string_view> lines = lines_of(text);
  const std::vector<int32_t> ids = tokenizer.encode(text);
  size_t kept = 0;  // so that no call can be left out
  const double whole = speed(text.size(), [&] { kept += tokenizer.encode(text).size(); });
  const double by_line = speed(text.size(), [&] {
    for (const std::string_view line : lines) kept += tokenizer.encode(line).size();
  });
  const double back = speed(text.size(), [&] { kept += tokenizer.decode(ids).size(); });
  if (kept < runs * ids.size()) throw std::runtime_error("tokens were lost");
  fmt::print("{}: {:.2f} MB, {} ids; encode {:.1f} MB/s, line by line {:.1f} MB/s; decode {:.0f} MB/s\n", path,
             static_cast<double>(text.size()) / 1e6, ids.size(), whole, by_line, back);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 3) throw std::runtime_error("usage: tokenizer_bench TOKENIZER TEXT...");
  const recite::Tokenizer tokenizer = recite::Tokenizer::load(argv[1]);
  for (const char* path : std::span(argv + 2, static_cast<size_t>(argc - 2))) measure(tokenizer, path);
  return 0;
} catch (const std::exception& error) {
  fmt::print(stderr, "tokenizer_bench: {}\n", error.what());
  return 1;
}
