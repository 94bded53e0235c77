#include "results/results_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>

#include "base/error.h"
#include "results/descriptor.h"
#include "results/format.h"

namespace recite {
namespace {

TypeHandle name_type() {
  TypeHandle type(checked(H5Tcopy(H5T_C_S1), "cannot make the attribute name"));
  checked(H5Tset_size(type, name_bytes), "cannot make the attribute name");
  checked(H5Tset_cset(type, H5T_CSET_UTF8), "cannot make the attribute name");
  checked(H5Tset_strpad(type, H5T_STR_NULLPAD), "cannot make the attribute name");
  return type;
}

void write_attribute(hid_t file, const char* name, hid_t file_type, hid_t memory_type, const void* value) {
  const SpaceHandle scalar(checked(H5Screate(H5S_SCALAR), "cannot write an attribute"));
  const AttributeHandle attribute(
      checked(H5Acreate2(file, name, file_type, scalar, H5P_DEFAULT, H5P_DEFAULT), "cannot write an attribute"));
  checked(H5Awrite(attribute, memory_type, value), "cannot write an attribute");
}

void write_empty_file(const std::string& path, const std::string& name) {
  const FileHandle file(checked(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, file_access()), "cannot create"));
  const int32_t version = format_version;
  write_attribute(file, "format_version", H5T_STD_I32LE, H5T_NATIVE_INT32, &version);
  std::array<char, name_bytes> text{};
  std::memcpy(text.data(), name.data(), std::min(name.size(), text.size()));
  const TypeHandle type = name_type();
  write_attribute(file, "name", type, type, text.data());
  create_table(file, layout_of<RunRow>());
  create_table(file, layout_of<JobRow>());
  create_table(file, layout_of<EventRow>());
  create_table(file, layout_of<EvaluationRow>());
  create_table(file, layout_of<TrainingRow>());
  checked(H5Fflush(file, H5F_SCOPE_LOCAL), "cannot create");
}

void force_to_disk(const std::string& path) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file < 0 || fsync(file) != 0) throw Error(fmt::format("{}: {}", path, std::strerror(errno)));
}

// What `h5clear --status --increment=0` sets, here for the opening itself: the file is never marked as anything but
// "being written by SWMR", so that readers can open it at every moment. The status of the last writer is ignored (our
// own lock says that it is gone), and so is the end of the file as the header has it, which a killed writer leaves
// behind.
PropertiesHandle recovering_access() {
  PropertiesHandle properties = file_access();
  const hbool_t yes = true;
  for (const char* property : {"clear_status_flags", "skip_eof_check", "null_fsm_addr"}) {
    checked(H5Pset(properties, property, &yes), "this HDF5 library cannot go on with a file after a crash");
  }
  return properties;
}

}  // namespace

FileHandle open_to_read(const std::string& path) {
  if (access(path.c_str(), R_OK) != 0) throw UsageError(fmt::format("cannot read {}: {}", path, std::strerror(errno)));
  const PropertiesHandle properties = file_access();
  std::string reason;
  // The library asks for the size of the file first and reads its header then: with the last growth and the close of
  // its writer between the two the file looks too short.
  for (int tries = 0; tries < 3; ++tries) {
    FileHandle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY | H5F_ACC_SWMR_READ, properties));
    if (file >= 0) return file;
    reason = hdf5_reason();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  if (reason.find("signature not found") != std::string::npos) reason = "it is not in the HDF5 format";
  if (reason.find("truncated file") != std::string::npos) reason = fmt::format("it is incomplete ({})", reason);
  throw UsageError(fmt::format("{} is no results file: {}", path, reason));
}

FileHandle open_to_append(const std::string& path) {
  FileHandle file(
      checked(H5Fopen(path.c_str(), H5F_ACC_RDWR | H5F_ACC_SWMR_WRITE, recovering_access()), "cannot open"));
  // Space is given out from here on: it must lie behind everything that was ever written.
  checked(H5Fincrement_filesize(file, 0), "cannot find the end of the file");
  return file;
}

void create_results_file(const std::string& path, const std::string& name) {
  const std::string unfinished = path + ".new";
  write_empty_file(unfinished, name);
  force_to_disk(unfinished);
  if (std::rename(unfinished.c_str(), path.c_str()) != 0) {
    throw Error(fmt::format("cannot rename {}: {}", unfinished, std::strerror(errno)));
  }
  // The new name, too, must outlast a failure of power.
  const auto folder = std::filesystem::path(path).parent_path();
  force_to_disk(folder.empty() ? "." : folder.string());
}

ResultsTables::ResultsTables(hid_t file)
    : training(file, layout_of<TrainingRow>()),
      evaluations(file, layout_of<EvaluationRow>()),
      events(file, layout_of<EventRow>()),
      jobs(file, layout_of<JobRow>()),
      runs(file, layout_of<RunRow>()) {}

ResultsTables open_tables(hid_t file, const std::string& path) {
  try {
    return ResultsTables(file);
  } catch (const Error& error) {
    throw UsageError(fmt::format("{} cannot be used: {}", path, error.what()));
  }
}

ResultsHeader read_header(hid_t file, const std::string& path) {
  ResultsHeader header;
  std::array<char, name_bytes + 1> text{};
  const AttributeHandle version(H5Aopen(file, "format_version", H5P_DEFAULT));
  const AttributeHandle name(H5Aopen(file, "name", H5P_DEFAULT));
  if (version < 0 || name < 0 || H5Aread(version, H5T_NATIVE_INT, &header.format_version) < 0 ||
      H5Aread(name, name_type(), text.data()) < 0) {
    throw UsageError(fmt::format("{} is an HDF5 file, but no results file: it has no format_version and name", path));
  }
  header.name = text.data();
  return header;
}

void check_header(const ResultsHeader& header, const std::string& path, const std::string& name) {
  if (header.format_version != format_version) {
    throw UsageError(fmt::format("{} has format_version {}, this program writes {}: choose another file with -o", path,
                                 header.format_version, format_version));
  }
  if (header.name != name) {
    throw UsageError(fmt::format(
        "{} holds the sweep '{}', not '{}': choose another file with -o (a sweep can also be given that sweep.name)",
        path, header.name, name));
  }
}

}  // namespace recite
