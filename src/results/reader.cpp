#include "results/reader.h"

#include <fmt/format.h>
#include <hdf5.h>

#include "results/codec.h"
#include "results/results_file.h"
#include "results/table.h"

namespace recite {
namespace {

template <class Row>
std::vector<Row> rows_of(const Table& table) {
  const TableLayout layout = layout_of<Row>();
  const std::vector<std::byte> bytes = table.read();
  std::vector<Row> rows;
  rows.reserve(bytes.size() / layout.row_bytes);
  for (size_t at = 0; at < bytes.size(); at += layout.row_bytes) {
    if (is_valid(&bytes[at], layout.row_bytes)) rows.push_back(decode<Row>(&bytes[at]));
  }
  return rows;
}

}  // namespace

ResultsContents read_results(const std::string& path) {
  const FileHandle file = open_to_read(path);
  const ResultsHeader header = read_header(file, path);
  const ResultsTables tables = open_tables(file, path);
  return {.format_version = header.format_version,
          .name = header.name,
          .runs = rows_of<RunRow>(tables.runs),
          .jobs = rows_of<JobRow>(tables.jobs),
          .events = rows_of<EventRow>(tables.events),
          .evaluations = rows_of<EvaluationRow>(tables.evaluations),
          .training = rows_of<TrainingRow>(tables.training)};
}

std::string results_library_version() {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return fmt::format("HDF5 {}.{}.{}", major, minor, release);
}

}  // namespace recite
