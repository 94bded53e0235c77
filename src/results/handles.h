// HDF5 identifiers that close themselves, and its errors as exceptions.
#pragma once

#include <hdf5.h>

#include <string>
#include <utility>

namespace recite {

// Owns one identifier; move-only.
template <herr_t (*close)(hid_t)>
class Handle {
 public:
  Handle() = default;
  explicit Handle(hid_t id) : id_(id) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    return *this;
  }
  ~Handle() {
    if (id_ >= 0) close(id_);
  }
  operator hid_t() const { return id_; }

 private:
  hid_t id_ = H5I_INVALID_HID;
};

using FileHandle = Handle<H5Fclose>;
using DatasetHandle = Handle<H5Dclose>;
using SpaceHandle = Handle<H5Sclose>;
using TypeHandle = Handle<H5Tclose>;
using AttributeHandle = Handle<H5Aclose>;
using PropertiesHandle = Handle<H5Pclose>;

// Passes on the result of an HDF5 call; throws Error("ACTION: reason") when it is negative. The reason is the system's
// where there is one ("No space left on device").
template <class Result>
Result checked(Result result, const char* action);

// Why the last call failed: the system's message, else the innermost entry of the library's error stack.
std::string hdf5_reason();

// Properties for every file that we open: format 1.10 (the first with SWMR, the last that every reader knows), and no
// locks of the library's own: they would let a reader keep the writer out. WriterLock decides who may write.
PropertiesHandle file_access();

}  // namespace recite
