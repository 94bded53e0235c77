// One table of a results file, as rows of bytes.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "results/codec.h"
#include "results/handles.h"

namespace recite {

// Makes an empty table. Throws Error.
void create_table(hid_t file, const TableLayout& layout);

class Table {
 public:
  // Opens the table of a file. Throws Error when it is not there or has other columns.
  Table(hid_t file, TableLayout layout);

  // Rows up to the last valid one: the number of the next row.
  size_t rows() const { return rows_; }

  // Writes one row after the last valid one and flushes it to readers. Throws Error.
  void append(const std::vector<std::byte>& row);

  // Every row as it lies in the file, the one that is not valid included. Throws Error.
  std::vector<std::byte> read() const { return read(0, extent_); }
  std::vector<std::byte> read(size_t first, size_t count) const;

 private:
  void write(size_t row, const std::byte* bytes);

  TableLayout layout_;
  TypeHandle type_;  // of a row in memory
  DatasetHandle dataset_;
  SpaceHandle one_row_;
  size_t extent_ = 0;  // rows that the dataset has
  size_t rows_ = 0;
};

}  // namespace recite
