#include "weights/tensor_pickle.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <set>

#include "base/error.h"
#include "weights/pickle_machine.h"

namespace recite {

namespace {

// Whether the last element lies in the storage, by sums that cannot overflow unseen.
bool lies_within(const PickledTensor& tensor) {
  int64_t last = tensor.offset;
  for (size_t d = 0; d < tensor.shape.size(); ++d) {
    if (tensor.shape[d] == 0) return tensor.offset <= tensor.storage_elements;
    int64_t reach = 0;
    if (__builtin_mul_overflow(tensor.shape[d] - 1, tensor.strides[d], &reach) ||
        __builtin_add_overflow(last, reach, &last))
      return false;
  }
  return last < tensor.storage_elements;
}

}  // namespace

std::vector<PickledTensor> read_tensor_pickle(const std::string& path, std::string_view pickle) {
  pickle::Machine machine(path, pickle);
  const auto* table = std::get_if<pickle::Table>(&machine.run()->is);
  if (!table) throw Error(fmt::format("{}: its pickle is no table of tensors by name", path));
  std::vector<PickledTensor> tensors;
  std::set<std::string_view> names;
  for (const auto& [key, value] : table->items) {
    const auto* name = std::get_if<std::string>(&key->is);
    if (!name) throw Error(fmt::format("{}: its pickle's table has a key that is no text", path));
    const auto* tensor = std::get_if<PickledTensor>(&value->is);
    if (!tensor) throw Error(fmt::format("{}: '{}' is no tensor", path, *name));
    if (!names.insert(*name).second) throw Error(fmt::format("{}: holds '{}' twice", path, *name));
    tensors.push_back(*tensor);
    tensors.back().name = *name;
    if (!lies_within(*tensor))
      throw Error(fmt::format("{}: tensor '{}' of shape ({}), strides ({}) and offset {} is not within its {} elements",
                              path, *name, fmt::join(tensor->shape, ", "), fmt::join(tensor->strides, ", "),
                              tensor->offset, tensor->storage_elements));
  }
  return tensors;
}

}  // namespace recite
