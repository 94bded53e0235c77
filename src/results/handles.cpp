#include "results/handles.h"

#include <fmt/format.h>

#include <string_view>

#include "base/error.h"

namespace recite {
namespace {

// The library describes a failed write as "file write failed: time = ..., error message = 'No space left on device',
// ...".
constexpr std::string_view system_mark = "error message = '";

// Keeps the innermost description, but a system's message rather than any other.
herr_t keep_description(unsigned, const H5E_error2_t* error, void* kept) {
  std::string& description = *static_cast<std::string*>(kept);
  if (error->desc != nullptr && *error->desc != '\0' && description.find(system_mark) == std::string::npos) {
    description = error->desc;
  }
  return 0;
}

}  // namespace

std::string hdf5_reason() {
  std::string description = "unknown error of the HDF5 library";
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_description, &description);
  const size_t mark = description.find(system_mark);
  if (mark == std::string::npos) return description;
  const size_t begin = mark + system_mark.size();
  return description.substr(begin, description.find('\'', begin) - begin);
}

template <class Result>
Result checked(Result result, const char* action) {
  if (result < 0) throw Error(fmt::format("{}: {}", action, hdf5_reason()));
  return result;
}
template int checked(int, const char*);
template hid_t checked(hid_t, const char*);

PropertiesHandle file_access() {
  // At the end of the process the library would try once more to write what could not be written, and crash.
  [[maybe_unused]] static const herr_t no_exit_handler = H5dont_atexit();
  // Errors become exceptions; the library would also print them.
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  PropertiesHandle properties(checked(H5Pcreate(H5P_FILE_ACCESS), "cannot make file properties"));
  checked(H5Pset_libver_bounds(properties, H5F_LIBVER_V110, H5F_LIBVER_V110), "cannot choose the format");
  checked(H5Pset_file_locking(properties, false, true), "cannot turn off file locks");
  return properties;
}

}  // namespace recite
