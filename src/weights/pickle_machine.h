// The machine of Python's pickle, protocol 2, less all that runs code: it makes values.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "weights/tensor_pickle.h"

namespace recite::pickle {

struct Value;
using Reference = const Value*;

struct None {};
struct Global {
  std::string name;  // "collections.OrderedDict"
};
struct Tuple {
  std::vector<Reference> items;
};
struct Table {
  std::vector<std::pair<Reference, Reference>> items;
};
struct Storage {
  std::string key;
  torch::ScalarType type;
  int64_t elements;
};
struct Value {
  std::variant<None, bool, int64_t, std::string, Global, Tuple, Table, Storage, PickledTensor> is;
};

// Memory in proportion to the pickle, whatever it says: values are made once and referred to, and what is nested in
// itself is no trouble.
class Machine {
 public:
  Machine(const std::string& path, std::string_view pickle) : path_(path), pickle_(pickle) {}

  // The value that the pickle makes; it and what it refers to live as long as the machine. Throws Error.
  Reference run();

 private:
  [[noreturn]] void fail(const std::string& what) const;

  // Reads from the pickle.
  std::string_view take(size_t count);
  uint64_t take_number(size_t bytes);
  std::string_view take_line();

  // The stack. A mark divides it; what lies below the last mark is out of reach.
  void push(Value value);
  Reference pop();
  std::vector<Reference> pop_to_mark();
  Value& top();
  template <class Kind>
  const Kind& as(Reference value, const char* wanted) const;

  void step(unsigned char opcode);
  void step_constant(unsigned char opcode);
  void step_container(unsigned char opcode);
  void push_tuple(size_t count);
  void set_items(const std::vector<Reference>& keys_and_values);
  void remember(uint64_t place);
  void recall(uint64_t place);
  void push_global();
  void push_storage();
  void call();
  void build();
  Value rebuilt_tensor(const Tuple& arguments) const;
  std::vector<int64_t> extents(Reference value, const char* wanted) const;

  const std::string& path_;
  std::string_view pickle_;
  size_t at_ = 0;
  bool stopped_ = false;
  std::deque<Value> values_;
  std::vector<Value*> stack_;
  std::vector<size_t> marks_;
  std::map<uint64_t, Value*> memo_;
};

}  // namespace recite::pickle
