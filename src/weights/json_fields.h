// Values of a JSON object, checked, with errors that name file and key.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <concepts>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <type_traits>

#include "base/error.h"

namespace recite {

class JsonFields {
 public:
  // `where`: the file, and the key of an object within it. Throws Error when the value is no object.
  JsonFields(std::string where, nlohmann::json object) : where_(std::move(where)), object_(std::move(object)) {
    if (!object_.is_object()) throw Error(fmt::format("{}: is no JSON object", where_));
  }

  // null counts as not there.
  bool has(const char* key) const { return object_.contains(key) && !object_.at(key).is_null(); }

  // Integers are positive and of a size that a model can have, numbers positive and finite.
  template <class Value>
  Value get(const char* key) const {
    if (!has(key)) throw Error(fmt::format("{}: lacks {}", where_, key));
    const nlohmann::json& value = object_.at(key);
    if constexpr (std::is_same_v<Value, bool>) {
      if (value.is_boolean()) return value.get<bool>();
      refuse(key, "true or false");
    } else if constexpr (std::integral<Value>) {
      constexpr int64_t most = sizeof(Value) > 4 ? INT32_MAX : 1 << 24;
      if (value.is_number_integer() && value >= 1 && value <= most) return value.get<Value>();
      refuse(key, "a positive integer");
    } else if constexpr (std::floating_point<Value>) {
      if (value.is_number() && value.get<Value>() > 0 && std::isfinite(value.get<Value>())) return value.get<Value>();
      refuse(key, "a positive number");
    } else {
      if (value.is_string()) return value.get<Value>();
      refuse(key, "a text");
    }
  }
  template <class Value>
  Value get(const char* key, Value otherwise) const {
    return has(key) ? get<Value>(key) : otherwise;
  }

  // What recite does one way only.
  template <class Value>
  void expect(const char* key, const Value& only) const {
    if (has(key) && object_.at(key) != only) refuse(key, nlohmann::json(only).dump());
  }

  JsonFields object(const char* key) const {
    return {fmt::format("{}: {}", where_, key), has(key) ? object_.at(key) : nlohmann::json::object()};
  }
  const nlohmann::json& json() const { return object_; }
  const std::string& where() const { return where_; }

  [[noreturn]] void refuse(const char* key, const std::string& allowed) const {
    throw Error(fmt::format("{}: {} = {}; allowed: {}", where_, key, has(key) ? object_.at(key).dump() : "(not there)",
                            allowed));
  }

 private:
  std::string where_;
  nlohmann::json object_;
};

}  // namespace recite
