// Between a row as the program has it and its bytes as they lie in the file (results/format.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "results/format.h"

namespace recite {

enum class ColumnKind { int32, int64, float64, text, uint8 };

struct ColumnLayout {
  const char* name;
  ColumnKind kind;
  size_t offset;  // bytes from the start of the row
  size_t bytes;
};

struct TableLayout {
  const char* table;
  size_t chunk_rows;
  std::vector<ColumnLayout> columns;  // `valid` included
  size_t row_bytes;
};

template <class Value>
constexpr ColumnKind kind_of() {
  if constexpr (std::is_same_v<Value, int32_t>) return ColumnKind::int32;
  if constexpr (std::is_same_v<Value, int64_t>) return ColumnKind::int64;
  if constexpr (std::is_same_v<Value, double>) return ColumnKind::float64;
  return ColumnKind::text;
}

template <class Row>
TableLayout layout_of() {
  TableLayout layout{Format<Row>::table, Format<Row>::chunk_rows, {}, 0};
  const auto add = [&](const char* name, ColumnKind kind, size_t bytes) {
    layout.columns.push_back({name, kind, layout.row_bytes, bytes});
    layout.row_bytes += bytes;
  };
  for_each_column<Row>(
      [&]<class Value>(const Column<Row, Value>& column) { add(column.name, kind_of<Value>(), column.bytes); });
  add("valid", ColumnKind::uint8, 1);
  return layout;
}

// `text` for a column of `bytes` bytes: valid UTF-8 without NUL (what is not becomes '?'), and cut at the end of a
// character with an ellipsis when it is longer.
std::string fitting_text(std::string_view text, size_t bytes);

// Throws UsageError where a text that must stay whole does not fit; `row_name` says whose it is.
void refuse_long_text(const std::string& text, const char* column, size_t bytes, const std::string& row_name);

// The bytes of a valid row.
template <class Row>
std::vector<std::byte> encode(const Row& row, const std::string& row_name) {
  std::vector<std::byte> bytes(layout_of<Row>().row_bytes);
  std::byte* at = bytes.data();
  for_each_column<Row>([&]<class Value>(const Column<Row, Value>& column) {
    const Value& value = row.*column.member;
    if constexpr (std::is_same_v<Value, std::string>) {
      if (column.too_long == TooLong::refused) refuse_long_text(value, column.name, column.bytes, row_name);
      const std::string text = fitting_text(value, column.bytes);
      std::memcpy(at, text.data(), text.size());
    } else if constexpr (std::is_same_v<Value, JobState>) {
      std::memcpy(at, name_of(value).data(), name_of(value).size());
    } else {
      std::memcpy(at, &value, sizeof(value));
    }
    at += column.bytes;
  });
  *at = std::byte{1};
  return bytes;
}

inline bool is_valid(const std::byte* row, size_t row_bytes) { return row[row_bytes - 1] == std::byte{1}; }

// The row in `bytes`, which must be valid.
template <class Row>
Row decode(const std::byte* bytes) {
  Row row;
  for_each_column<Row>([&]<class Value>(const Column<Row, Value>& column) {
    Value& value = row.*column.member;
    if constexpr (std::is_arithmetic_v<Value>) {
      std::memcpy(&value, bytes, sizeof(value));
    } else {
      const char* begin = reinterpret_cast<const char*>(bytes);
      const std::string text(begin, strnlen(begin, column.bytes));
      if constexpr (std::is_same_v<Value, JobState>) {
        value = parse_job_state(text);
      } else {
        value = text;
      }
    }
    bytes += column.bytes;
  });
  return row;
}

}  // namespace recite
