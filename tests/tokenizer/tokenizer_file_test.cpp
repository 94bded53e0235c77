// What is refused of a tokenizer.json, and what it says then.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "small_tokenizer.h"

namespace recite {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

template <class Load>
std::string refusal(const Load& load) {
  try {
    load();
    return "";
  } catch (const UsageError& error) {
    return error.what();
  }
}

TEST(TokenizerFile, ThatIsNotThereIsNamed) {
  EXPECT_EQ(refusal([] { Tokenizer::load("/no/such/tokenizer.json"); }), "/no/such/tokenizer.json: cannot be read");
  const TemporaryFolder folder;
  EXPECT_THAT(refusal([&] { Tokenizer::load(folder.path()); }), HasSubstr("is a folder; it must be a file"));
}

TEST(TokenizerFile, ThatIsNotJsonIsRefusedWithThePlace) {
  const TemporaryFolder folder;
  EXPECT_THAT(refusal([&] { loaded_text(folder, R"({"model": )"); }),
              AllOf(HasSubstr(folder / "tokenizer.json"), HasSubstr("is not JSON, at byte 11 of 10")));
  EXPECT_THAT(refusal([&] { loaded_text(folder, ""); }), HasSubstr("is not JSON"));
  EXPECT_THAT(refusal([&] { loaded_text(folder, "{\"model\": \"\xFF\"}"); }), HasSubstr("is not JSON"));
  EXPECT_THAT(refusal([&] { loaded_text(folder, "[1, 2]"); }), HasSubstr("the file is [1,2]; it must be an object"));
  EXPECT_THAT(refusal([&] { loaded_text(folder, "{}"); }), HasSubstr("has no 'model'"));
}

struct Case {
  const char* name;
  const char* pointer;  // where the small tokenizer is changed
  json value;
  std::vector<std::string> says;
};

class Refused : public testing::TestWithParam<Case> {};

TEST_P(Refused, NamesWhatItIsAndWhatIsSupported) {
  json description = small_tokenizer();
  description[json::json_pointer(GetParam().pointer)] = GetParam().value;
  const std::string message = refusal([&] { loaded(description); });
  EXPECT_THAT(message, HasSubstr("tokenizer.json: "));
  for (const std::string& part : GetParam().says) EXPECT_THAT(message, HasSubstr(part));
}

json changed(json token, const char* key, const json& value) {
  token[key] = value;
  return token;
}

json unflagged() {
  json token = added_token(262, "x y");
  token.erase("rstrip");
  return token;
}

const Case cases[] = {
    {"UnknownPart", "/extras", 1, {"has 'extras', which is not supported", "pre_tokenizer"}},
    {"Version", "/version", "2.0", {"version is \"2.0\"", "supported: 1.0"}},
    {"Truncation", "/truncation", {{"max_length", 5}}, {"truncation is {\"max_length\":5}", "null"}},
    {"Padding", "/padding", {{"strategy", "x"}}, {"padding is", "null"}},
    {"Lowercase", "/normalizer", {{"type", "Lowercase"}}, {"normalizer is \"Lowercase\"", "null, NFC, Sequence"}},
    {"InSequence",
     "/normalizer",
     {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}, {{"type", "NFD"}}}}},
     {"normalizer.normalizers[1] is \"NFD\""}},
    {"Sequence", "/normalizer", {{"type", "Sequence"}}, {"normalizer.normalizers is null; it must be a list"}},
    {"NfcOption", "/normalizer/form", 1, {"normalizer has 'form'"}},
    {"Whitespace", "/pre_tokenizer", {{"type", "Whitespace"}}, {"pre_tokenizer is \"Whitespace\"", "ByteLevel"}},
    {"NoPreTokenizer", "/pre_tokenizer", nullptr, {"pre_tokenizer is null", "ByteLevel"}},
    {"PrefixSpace", "/pre_tokenizer/add_prefix_space", 1, {"pre_tokenizer.add_prefix_space is 1", "true, false"}},
    {"NoPrefixSpace", "/pre_tokenizer", {{"type", "ByteLevel"}}, {"pre_tokenizer.add_prefix_space is missing"}},
    {"UseRegex", "/pre_tokenizer/use_regex", "no", {"pre_tokenizer.use_regex is \"no\""}},
    {"PreTokenizerOption", "/pre_tokenizer/pattern", "x", {"pre_tokenizer has 'pattern'"}},
    {"Decoder", "/decoder", {{"type", "WordPiece"}}, {"decoder is \"WordPiece\"", "ByteLevel"}},
    {"NoDecoder", "/decoder", nullptr, {"decoder is null", "ByteLevel"}},
    {"ModelType", "/model/type", "WordPiece", {"model.type is \"WordPiece\"; supported: BPE"}},
    {"Model", "/model", 3, {"model is 3; it must be an object"}},
    {"ModelOption", "/model/max_input", 100, {"model has 'max_input'", "ignore_merges"}},
    {"Dropout", "/model/dropout", 0.1, {"model.dropout is 0.1", "null, 0"}},
    {"Prefix", "/model/continuing_subword_prefix", "##", {"model.continuing_subword_prefix is \"##\""}},
    {"Suffix", "/model/end_of_word_suffix", "</w>", {"model.end_of_word_suffix is \"</w>\""}},
    {"ByteFallback", "/model/byte_fallback", true, {"model.byte_fallback is true; supported: false"}},
    {"IgnoreMerges", "/model/ignore_merges", 2, {"model.ignore_merges is 2"}},
    {"Vocabulary", "/model/vocab", json::array(), {"model.vocab is []; it must map tokens to ids"}},
    {"IdOfText", "/model/vocab/he", "7", {"the id of token 'he' is \"7\"", "0 to 16777215"}},
    {"NegativeId", "/model/vocab/he", -1, {"the id of token 'he' is -1"}},
    {"LargeId", "/model/vocab/he", 1LL << 40, {"the id of token 'he' is 1099511627776"}},
    {"HalfId", "/model/vocab/he", 1.5, {"the id of token 'he' is 1.5"}},
    {"IdTwice", "/model/vocab/hell", 256, {"model.vocab gives the id 256 to 'he' and to 'hell'"}},
    {"Merges", "/model/merges", "h e", {"model.merges is \"h e\"; it must be a list"}},
    {"MergeOfThree", "/model/merges/1", "l l l", {"model.merges[1] is \"l l l\"", "\"a b\", [\"a\", \"b\"]"}},
    {"MergeOfOne", "/model/merges/0", json::array({"h"}), {"model.merges[0] is [\"h\"]"}},
    {"MergeOfNumbers", "/model/merges/0", json::array({1, 2}), {"model.merges[0] is [1,2]"}},
    {"MergeOfUnknown", "/model/merges/2", "he qq", {"model.merges[2] needs the token 'qq', which model.vocab lacks"}},
    {"MergeToUnknown", "/model/merges/3", "e h", {"model.merges[3] needs the token 'eh'"}},
    {"AddedTokens", "/added_tokens", 5, {"added_tokens is 5; it must be a list"}},
    {"AddedToken", "/added_tokens/1", "x", {"added_tokens[1] is \"x\"; it must be an object"}},
    {"AddedOption", "/added_tokens/1/bold", true, {"added_tokens[1] has 'bold'"}},
    {"AddedEmpty", "/added_tokens/1/content", "", {"added_tokens[1].content is \"\"", "at least one letter"}},
    {"AddedFlag", "/added_tokens/2", unflagged(), {"added_tokens[2].rstrip is missing"}},
    {"AddedId", "/added_tokens/2", added_token(300, "x"), {"added token 'x' has the id 300, but 120 in model.vocab"}},
    {"AddedTwice", "/added_tokens/2", added_token(262, "  "), {"added_tokens has '  ' twice"}},
    {"AddedGap", "/added_tokens/2", added_token(264, "x y"), {"added token 'x y' has the id 264; it must be 262"}},
    {"AddedNoId", "/added_tokens/2", changed(added_token(1, "x y"), "id", nullptr), {"the id of token 'x y' is null"}},
};

INSTANTIATE_TEST_SUITE_P(Cases, Refused, testing::ValuesIn(cases), [](const auto& test) { return test.param.name; });

TEST(TokenizerFile, AddedTokensThatLookTheSameAreRefused) {
  json description = small_tokenizer();
  description["added_tokens"].push_back(changed(added_token(262, "\u00E9\u0301"), "normalized", true));
  description["added_tokens"].push_back(changed(added_token(263, "e\u0301\u0301"), "normalized", true));
  EXPECT_THAT(refusal([&] { loaded(description); }), HasSubstr("are the same once normalized (NFC)"));
  description["normalizer"] = nullptr;
  EXPECT_EQ(refusal([&] { loaded(description); }), "");
}

TEST(TokenizerFile, AnAddedTokenWithTheIdOfAnotherIsRefused) {
  json description = small_tokenizer();
  description["model"]["vocab"].erase(letter_of_byte(0xFF));
  description["model"]["vocab"]["gap"] = 260;
  EXPECT_THAT(refusal([&] { loaded(description); }),
              HasSubstr("the id 260 is that of the added token '<|end|>' and of 'gap' in model.vocab"));
}

TEST(TokenizerFile, AnUnknownTokenIsRefusedOnlyWhereItCouldOccur) {
  json description = small_tokenizer();
  description["model"]["unk_token"] = "<unk>";
  EXPECT_EQ(refusal([&] { loaded(description); }), "");
  description["model"]["vocab"].erase("o");
  EXPECT_THAT(refusal([&] { loaded(description); }),
              AllOf(HasSubstr("model.unk_token is \"<unk>\""), HasSubstr("no token for the byte 0x6F")));
}

}  // namespace
}  // namespace recite
