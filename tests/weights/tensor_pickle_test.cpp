// Pickles put together opcode by opcode, as torch.save writes them and as it never would.
#include "weights/tensor_pickle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"

namespace recite {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string number(uint64_t value, size_t bytes) {
  std::string text;
  for (size_t i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
  return text;
}

std::string text(const std::string& value) { return "X" + number(value.size(), 4) + value; }
std::string integer(uint64_t value) { return value < 256 ? "K" + number(value, 1) : "M" + number(value, 2); }
std::string global(const std::string& module, const std::string& name) { return "c" + module + "\n" + name + "\n"; }
std::string tuple(const std::string& items) { return "(" + items + "t"; }

std::string storage(const std::string& type, const std::string& key, uint64_t elements) {
  return tuple(text("storage") + global("torch", type) + text(key) + text("cpu") + integer(elements)) + "Q";
}

std::string ordered_dict() { return global("collections", "OrderedDict") + ")R"; }

std::string tensor(const std::string& storage, const std::string& offset, const std::string& shape,
                   const std::string& strides) {
  return global("torch._utils", "_rebuild_tensor_v2") +
         tuple(storage + offset + tuple(shape) + tuple(strides) + "\x89" + ordered_dict()) + "R";
}

std::string two_by_three() {
  return tensor(storage("FloatStorage", "0", 6), integer(0), integer(2) + integer(3), integer(3) + integer(1));
}

std::string table(const std::string& items) { return "\x80\x02" + ordered_dict() + "(" + items + "u."; }

std::vector<PickledTensor> read(const std::string& pickle) { return read_tensor_pickle("file.bin", pickle); }

TEST(TensorPickle, GivesTheTensorsOfATable) {
  const std::string shared = storage("HalfStorage", "1", 500);
  const auto tensors = read(table(text("a.weight") + two_by_three() + text("b") +
                                  tensor(shared, integer(300), integer(10) + integer(20), integer(1) + integer(10)) +
                                  text("c") + tensor(shared, integer(499), "", "")));
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(tensors[0].name, "a.weight");
  EXPECT_EQ(tensors[0].storage, "0");
  EXPECT_EQ(tensors[0].type, torch::kFloat32);
  EXPECT_EQ(tensors[0].storage_elements, 6);
  EXPECT_THAT(tensors[0].shape, ElementsAre(2, 3));
  EXPECT_THAT(tensors[0].strides, ElementsAre(3, 1));
  EXPECT_EQ(tensors[1].type, torch::kFloat16);
  EXPECT_EQ(tensors[1].offset, 300);
  EXPECT_THAT(tensors[1].strides, ElementsAre(1, 10));
  EXPECT_EQ(tensors[2].storage, "1");
  EXPECT_TRUE(tensors[2].shape.empty());
}

TEST(TensorPickle, KnowsParametersTheMemoLongNumbersAndVersionsOfModules) {
  const std::string parameter =
      global("torch._utils", "_rebuild_parameter") + tuple(two_by_three() + "\x88" + ordered_dict()) + "R";
  const std::string recalled = text("x") + "q\x05" + "r" + number(70000, 4);
  const auto tensors = read(
      "\x80\x02}(" + recalled + parameter + text("y") +
      tensor(storage("LongStorage", "3", 300) + "q\x01", "\x8a\x02" + number(290, 2), "K\x0a", "J" + number(1, 4)) +
      text("z") + tensor("h\x01", integer(0), "K\x0a", "K\x01") + "u}" + text("_metadata") + "j" + number(70000, 4) +
      "sb.");
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(tensors[0].name, "x");
  EXPECT_EQ(tensors[1].offset, 290);
  EXPECT_EQ(tensors[1].type, torch::kInt64);
  EXPECT_EQ(tensors[2].storage, "3");
}

struct Refused {
  const char* name;
  std::string pickle;
  std::vector<std::string> said;
};

class TensorPickleRefuses : public testing::TestWithParam<Refused> {};

TEST_P(TensorPickleRefuses, AndSaysWhat) {
  try {
    read(GetParam().pickle);
    FAIL() << "taken";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("file.bin"));
    for (const std::string& said : GetParam().said) EXPECT_THAT(error.what(), HasSubstr(said));
  }
}

std::string outside(const std::string& offset, const std::string& shape, const std::string& strides) {
  return table(text("w") + tensor(storage("FloatStorage", "0", 6), offset, shape, strides));
}

const Refused refusals[] = {
    {"a_call_of_the_shell",
     "\x80\x02" + global("posix", "system") + tuple(text("echo taken")) + "R.",
     {"posix.system"}},
    {"a_name_alone", "\x80\x02" + global("builtins", "eval") + ".", {"builtins.eval"}},
    {"another_function_of_torch",
     table(text("w") + global("torch._utils", "_rebuild_qtensor") + ")R"),
     {"torch._utils._rebuild_qtensor"}},
    {"a_class_of_torch",
     "\x80\x02" + global("torch.nn.modules.linear", "Linear") + ")\x81.",
     {"torch.nn.modules.linear.Linear"}},
    {"a_call_of_a_storage", "\x80\x02" + global("torch", "FloatStorage") + ")R.", {"torch.FloatStorage"}},
    {"a_table_made_of_arguments",
     "\x80\x02" + global("collections", "OrderedDict") + tuple(integer(1)) + "R.",
     {"collections.OrderedDict", "1 arguments"}},
    {"an_object", "\x80\x02" + global("collections", "OrderedDict") + ")\x81.", {"0x81"}},
    {"protocol_4", "\x80\x04.", {"protocol 4"}},
    {"no_pickle", "PK", {"no pickle"}},
    {"empty", "", {"ends early"}},
    {"no_table", "\x80\x02K\x01.", {"no table"}},
    {"a_number_for_a_tensor", table(text("step") + integer(3)), {"'step' is no tensor"}},
    {"a_number_for_a_name", table(integer(3) + two_by_three()), {"no text"}},
    {"a_name_twice", table(text("w") + two_by_three() + text("w") + two_by_three()), {"'w' twice"}},
    {"a_name_without_a_value", table(text("w")), {"no table"}},
    {"nothing_on_the_stack", "\x80\x02R.", {"where there is none"}},
    {"below_a_mark", "\x80\x02K\x01(R.", {"where there is none"}},
    {"no_mark", "\x80\x02K\x01t.", {"mark"}},
    {"a_place_never_filled", "\x80\x02h\x07.", {"place 7"}},
    {"an_integer_of_nine_bytes", "\x80\x02\x8a\x09" + number(1, 8) + "\x01.", {"9 bytes"}},
    {"a_text_longer_than_the_file", "\x80\x02X" + number(0xffffffff, 4) + "abc", {"ends early"}},
    {"a_persistent_number", "\x80\x02K\x01Q.", {"storage"}},
    {"an_unknown_storage",
     table(text("w") + tensor(storage("ComplexStorage", "0", 6), integer(0), "", "")),
     {"torch.ComplexStorage"}},
    {"beyond_its_storage",
     outside(integer(1), integer(2) + integer(3), integer(3) + integer(1)),
     {"'w'", "(2, 3)", "offset 1", "6 elements"}},
    {"strides_beyond_its_storage", outside(integer(0), integer(2) + integer(3), integer(4) + integer(1)), {"'w'"}},
    {"a_reach_that_overflows",
     outside(integer(0), "\x8a\x08" + number(INT64_MAX, 8) + integer(3),
             "\x8a\x08" + number(INT64_MAX, 8) + integer(1)),
     {"'w'"}},
    {"a_negative_stride", outside(integer(0), integer(2), "J" + number(0xffffffff, 4)), {"-1", "strides"}},
    {"a_negative_offset", outside("J" + number(0xffffffff, 4), integer(2), integer(1)), {"offset"}},
    {"shape_and_strides_of_other_lengths", outside(integer(0), integer(2), ""), {"strides"}},
    {"too_many_dimensions",
     outside(
         integer(0),
         [] {
           std::string ones;
           for (int i = 0; i < 65; ++i) ones += integer(1);
           return ones;
         }(),
         ""),
     {"65 dimensions"}},
};
INSTANTIATE_TEST_SUITE_P(Pickles, TensorPickleRefuses, testing::ValuesIn(refusals),
                         [](const auto& instance) { return std::string(instance.param.name); });

// Whatever the bytes, there is an answer or an Error, and nothing is read outside of them.
TEST(TensorPickle, EveryCutAndEveryChangedByteIsAnswered) {
  const std::string whole = table(text("w") + two_by_three() + text("b") + two_by_three());
  const auto answered = [](const std::string& pickle) {
    try {
      read(pickle);
    } catch (const Error&) {
    }
  };
  for (size_t size = 0; size < whole.size(); ++size) EXPECT_THROW(read(whole.substr(0, size)), Error) << size;
  for (size_t at = 0; at < whole.size(); ++at) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string changed = whole;
      changed[at] = static_cast<char>(byte);
      answered(changed);
    }
  }
}

TEST(TensorPickle, NestingAsDeepAsTheFileIsLongIsAnswered) {
  std::string deep = "\x80\x02}";
  for (int i = 0; i < 1'000'000; ++i) deep += '\x85';
  EXPECT_THROW(read(deep + "."), Error);
  EXPECT_THROW(read("\x80\x02}q\x01" + text("self") + "h\x01s."), Error);
}

}  // namespace
}  // namespace recite
