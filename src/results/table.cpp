#include "results/table.h"

#include <fmt/format.h>

#include "base/error.h"

namespace recite {
namespace {

TypeHandle text_type(size_t bytes) {
  TypeHandle type(checked(H5Tcopy(H5T_C_S1), "cannot make a text type"));
  checked(H5Tset_size(type, bytes), "cannot make a text type");
  checked(H5Tset_cset(type, H5T_CSET_UTF8), "cannot make a text type");
  checked(H5Tset_strpad(type, H5T_STR_NULLPAD), "cannot make a text type");
  return type;
}

hid_t number_type(ColumnKind kind, bool in_file) {
  switch (kind) {
    case ColumnKind::int32:
      return in_file ? H5T_STD_I32LE : H5T_NATIVE_INT32;
    case ColumnKind::int64:
      return in_file ? H5T_STD_I64LE : H5T_NATIVE_INT64;
    case ColumnKind::float64:
      return in_file ? H5T_IEEE_F64LE : H5T_NATIVE_DOUBLE;
    default:
      return in_file ? H5T_STD_U8LE : H5T_NATIVE_UINT8;
  }
}

TypeHandle row_type(const TableLayout& layout, bool in_file) {
  TypeHandle row(checked(H5Tcreate(H5T_COMPOUND, layout.row_bytes), "cannot make the type of a row"));
  for (const ColumnLayout& column : layout.columns) {
    const TypeHandle text = column.kind == ColumnKind::text ? text_type(column.bytes) : TypeHandle();
    const hid_t type = column.kind == ColumnKind::text ? static_cast<hid_t>(text) : number_type(column.kind, in_file);
    checked(H5Tinsert(row, column.name, column.offset, type), "cannot make the type of a row");
  }
  return row;
}

}  // namespace

void create_table(hid_t file, const TableLayout& layout) {
  const hsize_t none = 0;
  const hsize_t unlimited = H5S_UNLIMITED;
  const hsize_t chunk = layout.chunk_rows;
  const SpaceHandle space(checked(H5Screate_simple(1, &none, &unlimited), "cannot make a table"));
  const PropertiesHandle properties(checked(H5Pcreate(H5P_DATASET_CREATE), "cannot make a table"));
  checked(H5Pset_chunk(properties, 1, &chunk), "cannot make a table");
  // A row that was never written reads as zeros: not valid.
  checked(H5Pset_fill_time(properties, H5D_FILL_TIME_ALLOC), "cannot make a table");
  const TypeHandle type = row_type(layout, true);
  const DatasetHandle dataset(checked(H5Dcreate2(file, layout.table, type, space, H5P_DEFAULT, properties, H5P_DEFAULT),
                                      "cannot make a table"));
}

Table::Table(hid_t file, TableLayout layout)
    : layout_(std::move(layout)),
      type_(row_type(layout_, false)),
      dataset_(checked(H5Dopen2(file, layout_.table, H5P_DEFAULT), "cannot open a table")) {
  const TypeHandle found(checked(H5Dget_type(dataset_), "cannot read a table"));
  if (checked(H5Tequal(found, row_type(layout_, true)), "cannot read a table") == 0) {
    throw Error(fmt::format("table /{} has other columns than this program's", layout_.table));
  }
  const hsize_t one = 1;
  one_row_ = SpaceHandle(checked(H5Screate_simple(1, &one, nullptr), "cannot read a table"));
  const SpaceHandle space(checked(H5Dget_space(dataset_), "cannot read a table"));
  hsize_t extent = 0;
  checked(H5Sget_simple_extent_dims(space, &extent, nullptr), "cannot read a table");
  extent_ = extent;
  rows_ = extent_;
  while (rows_ > 0 && !is_valid(read(rows_ - 1, 1).data(), layout_.row_bytes)) --rows_;
}

std::vector<std::byte> Table::read(size_t first, size_t count) const {
  std::vector<std::byte> bytes(count * layout_.row_bytes);
  if (count == 0) return bytes;
  const hsize_t start = first;
  const hsize_t size = count;
  const SpaceHandle in_file(checked(H5Dget_space(dataset_), "cannot read a table"));
  const SpaceHandle in_memory(checked(H5Screate_simple(1, &size, nullptr), "cannot read a table"));
  checked(H5Sselect_hyperslab(in_file, H5S_SELECT_SET, &start, nullptr, &size, nullptr), "cannot read a table");
  checked(H5Dread(dataset_, type_, in_memory, in_file, H5P_DEFAULT, bytes.data()), "cannot read a table");
  return bytes;
}

void Table::write(size_t row, const std::byte* bytes) {
  const hsize_t start = row;
  const hsize_t one = 1;
  const SpaceHandle in_file(checked(H5Dget_space(dataset_), "cannot write a row"));
  checked(H5Sselect_hyperslab(in_file, H5S_SELECT_SET, &start, nullptr, &one, nullptr), "cannot write a row");
  checked(H5Dwrite(dataset_, type_, one_row_, in_file, H5P_DEFAULT, bytes), "cannot write a row");
  checked(H5Dflush(dataset_), "cannot write a row");
}

void Table::append(const std::vector<std::byte>& row) {
  if (rows_ < extent_) {
    // A writer was stopped half way here, and readers may be looking at the row: it becomes valid after its other
    // bytes.
    std::vector<std::byte> not_yet_valid = row;
    not_yet_valid.back() = std::byte{0};
    write(rows_, not_yet_valid.data());
  } else {
    const hsize_t grown = rows_ + 1;
    checked(H5Dset_extent(dataset_, &grown), "cannot write a row");
    extent_ = grown;
  }
  write(rows_, row.data());
  ++rows_;
}

}  // namespace recite
