// Opening and creating results files: what the writer and the reader share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "results/handles.h"
#include "results/table.h"

namespace recite {

struct ResultsHeader {
  int format_version = 0;
  std::string name;  // of the sweep
};

// Opened in this order: a row names jobs and runs that were written before it, so they are all found, in a live file
// too.
struct ResultsTables {
  explicit ResultsTables(hid_t file);
  Table training, evaluations, events, jobs, runs;
};

// Opens a file that may be live, closed or left by a killed writer. Throws UsageError when it is missing or no results
// file.
FileHandle open_to_read(const std::string& path);

// Opens a file to append, for the holder of its lock. Also after a killed writer: there is no other step of recovery.
FileHandle open_to_append(const std::string& path);

// Puts an empty results file in place, by a rename. Throws Error.
void create_results_file(const std::string& path, const std::string& name);

// Throws UsageError when the file is no results file.
ResultsHeader read_header(hid_t file, const std::string& path);

// Throws UsageError when the file lacks a table or has one with other columns.
ResultsTables open_tables(hid_t file, const std::string& path);

// Throws UsageError, saying what differs, unless the program can append to such a file.
void check_header(const ResultsHeader& header, const std::string& path, const std::string& name);

}  // namespace recite
