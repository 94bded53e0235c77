#include "tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "base/error.h"
#include "small_tokenizer.h"

namespace recite {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using Ids = std::vector<int32_t>;

constexpr int he = 256, ll = 257, hell = 258, space_hell = 259, end_of_text = 260, two_spaces = 261;

json with(const char* pointer, const json& value) {
  json description = small_tokenizer();
  description[json::json_pointer(pointer)] = value;
  return description;
}

TEST(Encode, MergesTheLowestRankFirstAndTheLeftmost) {
  const Tokenizer tokenizer = loaded(small_tokenizer());
  EXPECT_THAT(tokenizer.encode("hello hell"), ElementsAre(hell, 'o', space_hell));
  EXPECT_THAT(tokenizer.encode("lllhe"), ElementsAre(ll, 'l', he));
  EXPECT_THAT(tokenizer.encode(""), ElementsAre());
}

TEST(Encode, LongPiecesAreMergedAsShortOnes) {
  const Tokenizer tokenizer = loaded(small_tokenizer());
  for (const int repeats : {1, 11, 12, 13, 47, 48, 49, 1000}) {
    std::string text;
    Ids expected;
    for (int i = 0; i < repeats; ++i) {
      text += "hellol";
      expected.insert(expected.end(), {hell, 'o', 'l'});
    }
    EXPECT_EQ(tokenizer.encode(text), expected) << repeats;
  }
}

TEST(Encode, AMegabyteWithoutABreakIsNotQuadratic) {  // it would take hours
  const Tokenizer tokenizer = loaded(small_tokenizer());
  EXPECT_EQ(tokenizer.encode(std::string(1'000'000, 'l')), Ids(500'000, ll));
  EXPECT_EQ(tokenizer.encode(std::string(1'000'001, ' ')).size(), 500'001u);
  std::string marks = "x";
  for (int i = 0; i < 300'000; ++i) marks += "\u0301\u0334";  // each pair out of order
  EXPECT_EQ(tokenizer.encode(marks).size(), marks.size());
}

TEST(Encode, PairsMayBeLists) {
  const Tokenizer tokenizer =
      loaded(with("/model/merges", json::parse(R"([["h", "e"], ["l", "l"], ["he", "ll"], ["Ġ", "hell"]])")));
  EXPECT_THAT(tokenizer.encode("hello hell"), ElementsAre(hell, 'o', space_hell));
}

TEST(Encode, IgnoringMergesATokenIsTakenAsItIs) {
  json description = with("/model/ignore_merges", true);
  description["model"]["merges"] = json::array();
  EXPECT_THAT(loaded(description).encode("hell hello"), ElementsAre(hell, ' ', 'h', 'e', 'l', 'l', 'o'));
}

TEST(Encode, AddsASpaceInFrontWhenTheFileSaysSo) {
  const Tokenizer tokenizer = loaded(with("/pre_tokenizer/add_prefix_space", true));
  EXPECT_THAT(tokenizer.encode("hell<|end|>hell"), ElementsAre(space_hell, end_of_text, space_hell));
  EXPECT_THAT(tokenizer.encode(" hell"), ElementsAre(space_hell));
}

TEST(Encode, WithoutThePatternMergesCrossWords) {
  json description = with("/pre_tokenizer/use_regex", false);
  description["model"]["vocab"]["lĠ"] = 260;
  description["model"]["merges"] = {"l Ġ"};
  description["added_tokens"] = json::array();
  EXPECT_THAT(loaded(description).encode("l l"), ElementsAre(260, 'l'));
}

TEST(Encode, ComposesOnlyWithTheNormalizer) {
  EXPECT_THAT(loaded(small_tokenizer()).encode("e\u0301"), ElementsAre(0xC3, 0xA9));
  EXPECT_THAT(loaded(with("/normalizer", nullptr)).encode("e\u0301"), ElementsAre('e', 0xCC, 0x81));
  const json sequence = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}}}};
  EXPECT_THAT(loaded(with("/normalizer", sequence)).encode("e\u0301"), ElementsAre(0xC3, 0xA9));
}

TEST(Encode, LeavesOutBytesWithoutAToken) {
  json description = small_tokenizer();
  description["model"]["vocab"].erase("o");
  description["model"]["vocab"]["filler"] = 'o';
  EXPECT_THAT(loaded(description).encode("helol"), ElementsAre(hell));
}

TEST(Encode, NamesTheByteThatIsNotUtf8) {
  const Tokenizer tokenizer = loaded(small_tokenizer());
  const std::vector<std::pair<std::string, std::string>> wrong = {{"0123456789\xFF", "byte 10 (0xFF)"},
                                                                  {"\x80", "byte 0 (0x80)"},
                                                                  {"a\xC0\x80", "byte 1"},
                                                                  {"é\xE2\x82", "byte 2 (0xE2)"},
                                                                  {"\xED\xA0\x80", "byte 0"},
                                                                  {"\xF4\x90\x80\x80", "byte 0"},
                                                                  {"\xE0\x9F\xBF", "byte 0"},
                                                                  {"12345678\xF0\x8F\xBF\xBF", "byte 8"}};
  for (const auto& [text, place] : wrong) {
    try {
      tokenizer.encode(text);
      ADD_FAILURE() << testing::PrintToString(text);
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("not UTF-8"), HasSubstr(place)));
    }
  }
}

// ---- added tokens ----

json with_token(const std::string& content, const char* flag) {
  json description = small_tokenizer();
  description["added_tokens"].push_back(added_token(262, content));
  if (flag) description["added_tokens"].back()[flag] = true;
  return description;
}

TEST(AddedTokens, AreFoundAnywhereTheLongestFirst) {
  const Tokenizer tokenizer = loaded(with_token("<|end|>hell", nullptr));
  EXPECT_THAT(tokenizer.encode("a<|end|>b"), ElementsAre('a', end_of_text, 'b'));
  EXPECT_THAT(tokenizer.encode("<|end|>hell<|end|>he"), ElementsAre(262, end_of_text, he));
  EXPECT_THAT(tokenizer.encode("<|end|hell"), ElementsAre('<', '|', 'e', 'n', 'd', '|', hell));
  EXPECT_THAT(tokenizer.encode("     a"), ElementsAre(two_spaces, two_spaces, ' ', 'a'));
}

TEST(AddedTokens, OfASingleWordTouchNone) {
  const Tokenizer tokenizer = loaded(with_token("xy", "single_word"));
  EXPECT_THAT(tokenizer.encode("xy xy!"), ElementsAre(262, ' ', 262, '!'));
  for (const std::string beside : {"a", "_", "9", "\u00E9", "\u0301"}) {
    EXPECT_THAT(tokenizer.encode("xy" + beside), testing::Not(testing::Contains(262))) << beside;
  }
}

TEST(AddedTokens, TakeWhiteSpaceAlong) {
  EXPECT_THAT(loaded(with_token("xy", "lstrip")).encode("a \n\u3000xy b"), ElementsAre('a', 262, ' ', 'b'));
  EXPECT_THAT(loaded(with_token("xy", "rstrip")).encode("a xy \n\u3000b"), ElementsAre('a', ' ', 262, 'b'));
}

TEST(AddedTokens, AreNormalizedOnlyWhenTheySaySo) {
  const std::string apart = "e\u0301";
  EXPECT_THAT(loaded(with_token(apart, nullptr)).encode(apart + "\u00E9"), ElementsAre(262, 0xC3, 0xA9));
  EXPECT_THAT(loaded(with_token(apart, "normalized")).encode(apart + "\u00E9"), ElementsAre(262, 262));
}

// ---- decoding ----

std::string decoded(const Tokenizer& tokenizer, const Ids& ids) { return tokenizer.decode(ids); }

TEST(Decode, GivesTheTextBack) {
  const Tokenizer tokenizer = loaded(small_tokenizer());
  for (const std::string text : {"hello hell", "  \n\t", "\u4E2D\u6587 \U0001F600", "caf\u00E9<|end|>"}) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
}

TEST(Decode, LeavesOutSpecialTokensOnDemand) {
  const Tokenizer tokenizer = loaded(small_tokenizer());
  const Ids ids = {'a', end_of_text, two_spaces, hell};
  EXPECT_EQ(tokenizer.decode(ids), "a<|end|>  hell");
  EXPECT_EQ(tokenizer.decode(ids, SpecialTokens::skip), "a  hell");
}

TEST(Decode, ReplacesEachPartThatIsNoCharacter) {
  const Tokenizer tokenizer = loaded(small_tokenizer());
  const std::string mark = "\uFFFD";
  EXPECT_EQ(decoded(tokenizer, {0xE2, 0x82}), mark);
  EXPECT_EQ(decoded(tokenizer, {0xE2, 0x82, 'a'}), mark + "a");
  EXPECT_EQ(decoded(tokenizer, {0xF0, 0x9F, 0x98, 0xC3, 0xA9}), mark + "\u00E9");
  EXPECT_EQ(decoded(tokenizer, {0xED, 0xA0, 0x80}), mark + mark + mark);
  EXPECT_EQ(decoded(tokenizer, {0xC0, 0xAF, 0xFF}), mark + mark + mark);
  EXPECT_EQ(decoded(tokenizer, {0xF4, 0x90, 'b'}), mark + mark + "b");
}

TEST(Decode, IdsWithoutATokenAddNothing) {
  const Tokenizer tokenizer = loaded(small_tokenizer());
  EXPECT_EQ(decoded(tokenizer, {'a', 262, 1'000'000, 'b'}), "ab");
  try {
    decoded(tokenizer, {'a', -1});
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("-1 is no token id"));
  }
}

// ---- the rest ----

TEST(Tokenizer, KnowsItsTokens) {
  const Tokenizer tokenizer = loaded(small_tokenizer());
  EXPECT_EQ(tokenizer.size(), 262);
  EXPECT_EQ(tokenizer.id_of("<|end|>"), end_of_text);
  EXPECT_EQ(tokenizer.id_of("Ġhell"), space_hell);
  EXPECT_EQ(tokenizer.id_of(" hell"), std::nullopt);
}

TEST(Tokenizer, ServesSeveralThreadsAtOnce) {
  const Tokenizer tokenizer = loaded(small_tokenizer());
  std::vector<std::string> texts;
  for (int i = 0; i < 500; ++i)
    texts.push_back(std::string(i % 7, ' ') + "hello e\u0301" + std::string(i, 'l') + "<|end|>");
  std::vector<Ids> expected;
  for (const std::string& text : texts) expected.push_back(tokenizer.encode(text));
  std::vector<std::vector<Ids>> found(4);
  std::vector<std::thread> threads;
  for (std::vector<Ids>& of_thread : found) {
    threads.emplace_back([&, copy = tokenizer] {
      for (const std::string& text : texts) of_thread.push_back(copy.encode(text));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::vector<Ids>& of_thread : found) EXPECT_EQ(of_thread, expected);
}

}  // namespace
}  // namespace recite
