#include "weights/pickle_machine.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace recite::pickle {

namespace {

constexpr size_t most_dimensions = 64;
constexpr int protocol = 2;

constexpr const char* ordered_dict = "collections.OrderedDict";
constexpr const char* rebuild_tensor = "torch._utils._rebuild_tensor_v2";
constexpr const char* rebuild_parameter = "torch._utils._rebuild_parameter";

struct StorageType {
  const char* name;
  torch::ScalarType type;
};
constexpr StorageType storage_types[] = {
    {"torch.DoubleStorage", torch::kFloat64}, {"torch.FloatStorage", torch::kFloat32},
    {"torch.HalfStorage", torch::kFloat16},   {"torch.BFloat16Storage", torch::kBFloat16},
    {"torch.LongStorage", torch::kInt64},     {"torch.IntStorage", torch::kInt32},
    {"torch.ShortStorage", torch::kInt16},    {"torch.CharStorage", torch::kInt8},
    {"torch.ByteStorage", torch::kUInt8},     {"torch.BoolStorage", torch::kBool},
};

const StorageType* find_storage_type(const std::string& name) {
  const auto* found = std::find_if(std::begin(storage_types), std::end(storage_types),
                                   [&](const StorageType& known) { return name == known.name; });
  return found == std::end(storage_types) ? nullptr : found;
}

bool is_known(const std::string& name) {
  return name == ordered_dict || name == rebuild_tensor || name == rebuild_parameter || find_storage_type(name);
}

// Little endian, two's complement.
int64_t signed_number(std::string_view bytes) {
  uint64_t value = !bytes.empty() && (bytes.back() & 0x80) != 0 ? ~uint64_t{0} : 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return static_cast<int64_t>(value);
}

}  // namespace

Reference Machine::run() {
  if (take(1) != "\x80") fail("is no pickle of protocol 2");
  if (const uint64_t version = take_number(1); version != protocol)
    fail(fmt::format("is a pickle of protocol {}; torch.save writes {} unless told otherwise", version, protocol));
  while (!stopped_) step(static_cast<unsigned char>(take(1)[0]));
  return pop();
}

void Machine::fail(const std::string& what) const {
  throw Error(fmt::format("{}: its pickle, at byte {}: {}", path_, at_, what));
}

// ---- the pickle ----

std::string_view Machine::take(size_t count) {
  if (count > pickle_.size() - at_) fail("ends early");
  at_ += count;
  return pickle_.substr(at_ - count, count);
}

uint64_t Machine::take_number(size_t bytes) {
  uint64_t value = 0;
  const std::string_view raw = take(bytes);
  for (size_t i = bytes; i-- > 0;) value = value << 8 | static_cast<unsigned char>(raw[i]);
  return value;
}

std::string_view Machine::take_line() {
  const size_t end = pickle_.find('\n', at_);
  if (end == std::string_view::npos) fail("ends early");
  const std::string_view line = take(end - at_);
  take(1);
  return line;
}

// ---- the stack ----

void Machine::push(Value value) {
  values_.push_back(std::move(value));
  stack_.push_back(&values_.back());
}

Value& Machine::top() {
  if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) fail("takes a value where there is none");
  return *stack_.back();
}

Reference Machine::pop() {
  const Reference value = &top();
  stack_.pop_back();
  return value;
}

std::vector<Reference> Machine::pop_to_mark() {
  if (marks_.empty()) fail("takes values up to a mark where there is none");
  const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
  std::vector<Reference> values(begin, stack_.end());
  stack_.erase(begin, stack_.end());
  marks_.pop_back();
  return values;
}

template <class Kind>
const Kind& Machine::as(Reference value, const char* wanted) const {
  const Kind* kind = std::get_if<Kind>(&value->is);
  if (!kind) fail(fmt::format("something else where {} is expected", wanted));
  return *kind;
}

// ---- the opcodes ----

void Machine::step(unsigned char opcode) {
  switch (opcode) {
    case '.':  // STOP
      stopped_ = true;
      return;
    case 'c':
      return push_global();
    case 'Q':
      return push_storage();
    case 'R':
      return call();
    case 'b':
      return build();
    case 'q':
      return remember(take_number(1));
    case 'r':
      return remember(take_number(4));
    case 'h':
      return recall(take_number(1));
    case 'j':
      return recall(take_number(4));
    case '(':
    case ')':
    case 't':
    case 0x85:
    case 0x86:
    case 0x87:
    case '}':
    case 's':
    case 'u':
      return step_container(opcode);
    default:
      return step_constant(opcode);
  }
}

void Machine::step_constant(unsigned char opcode) {
  switch (opcode) {
    case 'N':
      return push({None{}});
    case 0x88:
      return push({true});
    case 0x89:
      return push({false});
    case 'K':
      return push({static_cast<int64_t>(take_number(1))});
    case 'M':
      return push({static_cast<int64_t>(take_number(2))});
    case 'J':
      return push({signed_number(take(4))});
    case 0x8a: {  // LONG1
      const uint64_t bytes = take_number(1);
      if (bytes > 8) fail(fmt::format("an integer of {} bytes; at most 8", bytes));
      return push({signed_number(take(bytes))});
    }
    case 'X': {  // BINUNICODE
      const uint64_t bytes = take_number(4);
      return push({std::string(take(bytes))});
    }
    default:
      fail(fmt::format("opcode 0x{:02x}, which no table of tensors needs", opcode));
  }
}

void Machine::step_container(unsigned char opcode) {
  switch (opcode) {
    case '(':
      return marks_.push_back(stack_.size());
    case ')':
      return push({Tuple{}});
    case 't':
      return push({Tuple{pop_to_mark()}});
    case '}':
      return push({Table{}});
    case 's': {
      const Reference value = pop(), key = pop();
      return set_items({key, value});
    }
    case 'u':
      return set_items(pop_to_mark());
    default:  // TUPLE1, TUPLE2, TUPLE3
      return push_tuple(opcode - 0x84u);
  }
}

void Machine::push_tuple(size_t count) {
  std::vector<Reference> items(count);
  for (size_t i = count; i-- > 0;) items[i] = pop();
  push({Tuple{std::move(items)}});
}

void Machine::set_items(const std::vector<Reference>& keys_and_values) {
  auto* table = std::get_if<Table>(&top().is);
  if (!table || keys_and_values.size() % 2 != 0) fail("items are put into something that is no table");
  for (size_t i = 0; i < keys_and_values.size(); i += 2)
    table->items.emplace_back(keys_and_values[i], keys_and_values[i + 1]);
}

void Machine::remember(uint64_t place) { memo_[place] = &top(); }

void Machine::recall(uint64_t place) {
  const auto found = memo_.find(place);
  if (found == memo_.end()) fail(fmt::format("recalls place {}, where nothing was put", place));
  stack_.push_back(found->second);
}

// ---- what is named, and what calls of it make ----

void Machine::push_global() {
  const std::string module(take_line());
  const std::string name = fmt::format("{}.{}", module, take_line());
  if (!is_known(name))
    fail(fmt::format("names '{}', which is no part of a table of tensors: nothing of it is run or read", name));
  push({Global{name}});
}

// ("storage", its type, the member's name, the device it was on, elements)
void Machine::push_storage() {
  const Tuple& parts = as<Tuple>(pop(), "the description of a storage");
  if (parts.items.size() != 5 || as<std::string>(parts.items[0], "'storage'") != "storage")
    fail("a storage is described otherwise than torch.save does");
  const StorageType* type = find_storage_type(as<Global>(parts.items[1], "a storage's type").name);
  if (!type) fail("a storage is described otherwise than torch.save does");
  const int64_t elements = as<int64_t>(parts.items[4], "a storage's length");
  if (elements < 0) fail(fmt::format("a storage of {} elements", elements));
  push({Storage{as<std::string>(parts.items[2], "a storage's name"), type->type, elements}});
}

void Machine::call() {
  const Tuple& arguments = as<Tuple>(pop(), "a tuple of arguments");
  const std::string& name = as<Global>(pop(), "a name").name;
  if (name == rebuild_tensor) return push(rebuilt_tensor(arguments));
  if (name == rebuild_parameter && arguments.items.size() == 3)
    return push({as<PickledTensor>(arguments.items[0], "a tensor")});
  if (name == ordered_dict && arguments.items.empty()) return push({Table{}});
  fail(fmt::format("calls '{}' with {} arguments", name, arguments.items.size()));
}

// torch.save hangs the versions of modules on the table, which no tensor needs.
void Machine::build() {
  pop();
  as<Table>(&top(), "a table");
}

// (storage, offset, shape, strides, requires_grad, hooks[, metadata])
Value Machine::rebuilt_tensor(const Tuple& arguments) const {
  const auto& items = arguments.items;
  if (items.size() != 6 && items.size() != 7) fail(fmt::format("a tensor of {} parts; it has 6 or 7", items.size()));
  const auto& storage = as<Storage>(items[0], "a storage");
  PickledTensor tensor;
  tensor.storage = storage.key;
  tensor.type = storage.type;
  tensor.storage_elements = storage.elements;
  tensor.offset = as<int64_t>(items[1], "a tensor's offset");
  tensor.shape = extents(items[2], "a tensor's shape");
  tensor.strides = extents(items[3], "a tensor's strides");
  if (tensor.offset < 0 || tensor.shape.size() != tensor.strides.size())
    fail("a tensor whose offset, shape and strides do not belong together");
  return {tensor};
}

std::vector<int64_t> Machine::extents(Reference value, const char* wanted) const {
  const Tuple& tuple = as<Tuple>(value, wanted);
  if (tuple.items.size() > most_dimensions) fail(fmt::format("a tensor of {} dimensions", tuple.items.size()));
  std::vector<int64_t> out;
  for (const Reference item : tuple.items) {
    out.push_back(as<int64_t>(item, wanted));
    if (out.back() < 0) fail(fmt::format("{} where {} is expected", out.back(), wanted));
  }
  return out;
}

}  // namespace recite::pickle
