#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "config/message.h"
#include "prompts/files.h"
#include "prompts/prompt_source.h"
#include "prompts/squad_file.h"
#include "prompts/word_codec.h"
#include "support/temporary_folder.h"

namespace recite {
namespace {

using nlohmann::json;
using testing::ElementsAre;

json question(const std::string& text, const std::vector<std::string>& answers) {
  json entry = {{"question", text}, {"id", "x"}, {"is_impossible", answers.empty()}, {"answers", json::array()}};
  for (const std::string& answer : answers) entry["answers"].push_back({{"text", answer}, {"answer_start", 0}});
  return entry;
}

// A context of `words` words that begins with its name, and three questions, one of them without an answer.
json paragraph(const std::string& name, int words) {
  std::string context = name;
  for (int i = 1; i < words; ++i) context += " w";
  json impossible = question("never " + name, {});
  impossible["answers"] = {{{"text", "wrong"}, {"answer_start", 0}}};  // as if it were not impossible
  return {{"context", context},
          {"qas",
           {question(name + " one?", {name + "-1"}), impossible,
            question(name + " two?", {name + "-2", "second", "second"})}}};
}

json squad_of(const std::vector<json>& paragraphs) {
  return {{"version", "v2.0"}, {"data", {{{"title", "t"}, {"paragraphs", paragraphs}}}}};
}

class Squad : public testing::Test {
 protected:
  PromptSpec spec(const std::string& bytes) {
    return {.kind = TextTask::squad, .corpus = write_file(folder_ / "squad.json", bytes), .seed = 2};
  }

  // 15 contexts of 50 words, 14 of 51 to 100, 40 of 101 to 150, 16 of 350.
  PromptSpec four_bins() {
    std::vector<json> paragraphs;
    const auto add = [&](int count, auto words) {
      for (int i = 0; i < count; ++i)
        paragraphs.push_back(paragraph("c" + std::to_string(paragraphs.size()), words(i)));
    };
    add(15, [](int) { return 50; });
    add(14, [](int i) { return i == 0 ? 51 : 100; });
    add(40, [](int i) { return i % 2 == 0 ? 101 : 150; });
    add(16, [](int) { return 350; });
    return spec(squad_of(paragraphs).dump());
  }

  TemporaryFolder folder_;
  WordCodec codec_;
};

std::string name_of_context(const Prompt& prompt) { return prompt.text.substr(0, prompt.text.find(' ')); }

std::vector<std::string> contexts_in(const PromptSource& source, int bin) {
  std::vector<std::string> names;
  for (int64_t i = 0; i < source.available(bin); ++i) names.push_back(name_of_context(source.prompt(bin, i)));
  return names;
}

TEST_F(Squad, HasTheBinsWithFifteenContexts) {
  const auto source = make_prompt_source(four_bins(), codec_);
  EXPECT_THAT(source->bins(), ElementsAre(50, 150, 350));
  EXPECT_EQ(source->available(50), 15);
  EXPECT_EQ(source->available(150), 30);
  EXPECT_EQ(source->available(350), 16);
  for (const int other : {0, 49, 100, 200}) EXPECT_EQ(source->available(other), 0);
}

TEST_F(Squad, BinsMayBeWider) {
  PromptSpec given = four_bins();
  given.squad_bins = 175;
  given.squad_contexts = 1000;
  const auto source = make_prompt_source(given, codec_);
  EXPECT_THAT(source->bins(), ElementsAre(175, 350));
  EXPECT_EQ(source->available(175), 69);
  given.squad_bins = 1;
  EXPECT_THAT(make_prompt_source(given, codec_)->bins(), ElementsAre(50, 101, 150, 350));
}

TEST_F(Squad, AsksAboutDifferentContextsOfTheBin) {
  PromptSpec given = four_bins();
  const std::vector<std::string> thirty = contexts_in(*make_prompt_source(given, codec_), 150);
  EXPECT_EQ(std::set<std::string>(thirty.begin(), thirty.end()).size(), 30u);
  for (const std::string& name : thirty) EXPECT_TRUE(std::stoi(name.substr(1)) >= 29 && std::stoi(name.substr(1)) < 69);
  EXPECT_FALSE(std::is_sorted(thirty.begin(), thirty.end()));
  // Fewer are the first of them, and another seed takes others.
  given.squad_contexts = 7;
  EXPECT_EQ(contexts_in(*make_prompt_source(given, codec_), 150), std::vector(thirty.begin(), thirty.begin() + 7));
  given.seed = 3;
  EXPECT_NE(contexts_in(*make_prompt_source(given, codec_), 150), std::vector(thirty.begin(), thirty.begin() + 7));
}

TEST_F(Squad, HasItsGrammarAndDrawsTheQuestions) {
  const auto source = make_prompt_source(four_bins(), codec_);
  int asked_first = 0;
  for (const int bin : source->bins()) {
    for (int64_t i = 0; i < source->available(bin); ++i) {
      const Prompt prompt = source->prompt(bin, i);
      const std::string name = name_of_context(prompt);
      const std::string context = prompt.text.substr(0, prompt.text.find("\n\n"));
      EXPECT_EQ((codec_.encode(context).size() + 49) / 50 * 50, static_cast<size_t>(bin));
      const std::string one =
          context + "\n\nQuestion: " + name + " two?\nAnswer: " + name + "-2\n\nQuestion: " + name + " one?\nAnswer: ";
      const std::string two =
          context + "\n\nQuestion: " + name + " one?\nAnswer: " + name + "-1\n\nQuestion: " + name + " two?\nAnswer: ";
      if (prompt.text == one) {
        ++asked_first;
        EXPECT_THAT(prompt.gold, ElementsAre(name + "-1"));
      } else {
        EXPECT_EQ(prompt.text, two);
        EXPECT_THAT(prompt.gold, ElementsAre(name + "-2", "second", "second"));
      }
      EXPECT_EQ(prompt.tokens, codec_.encode(prompt.text));
      EXPECT_EQ(prompt.max_new_tokens, 200);
      EXPECT_TRUE(prompt.suppress_end_first);
    }
  }
  EXPECT_NEAR(asked_first, 61 / 2, 5 * 3.9);  // of 61, standard deviation sqrt(61)/2
}

TEST_F(Squad, DependsOnTheNameAlone) {
  const PromptSpec given = four_bins();
  const auto source = make_prompt_source(given, codec_);
  PromptSpec zipped = given;
  zipped.corpus = write_gzip(folder_ / "squad.json.gz", bytes_of(given.corpus));
  const auto again = make_prompt_source(zipped, codec_);
  for (const int64_t index : {14, 0, 3}) EXPECT_EQ(source->prompt(50, index).text, again->prompt(50, index).text);
}

TEST_F(Squad, ReadsPassagesWithTwoAnsweredQuestions) {
  json one_answered = paragraph("one", 5);
  one_answered["qas"].erase(2);
  json without_answers = paragraph("none", 5);
  without_answers["qas"][0]["answers"] = json::array();
  json version_1 = paragraph("old", 5);
  for (json& entry : version_1["qas"]) entry.erase("is_impossible");
  const std::string path =
      write_file(folder_ / "x.json", squad_of({one_answered, without_answers, version_1, paragraph("new", 5)}).dump());
  const std::vector<SquadPassage> passages = read_squad(path);
  ASSERT_EQ(passages.size(), 2u);
  EXPECT_EQ(passages[0].context, "old w w w w");
  EXPECT_EQ(passages[0].questions.size(), 3u);
  ASSERT_EQ(passages[1].questions.size(), 2u);
  EXPECT_EQ(passages[1].questions[1].text, "new two?");
  EXPECT_THAT(passages[1].questions[1].answers, ElementsAre("new-2", "second", "second"));
}

TEST_F(Squad, RefusesOtherFilesAndNamesThePlace) {
  const std::string path = folder_ / "squad.json";
  const auto refused = [&](const std::string& bytes) {
    return refusal([&] { make_prompt_source(spec(bytes), codec_); });
  };
  const std::string as_official = " as SQuAD's official JSON has (version 1.1 or 2.0): change squad_file";
  EXPECT_EQ(refused("{\"data\": ["), path + ": is no JSON, or not all of it: change squad_file");
  EXPECT_EQ(refused("[]"), path + ": has no array 'data'" + as_official);
  EXPECT_EQ(refused("{\"data\": 3}"), path + ": has no array 'data'" + as_official);

  const json good = squad_of({paragraph("a", 5), paragraph("b", 5)});
  const auto without = [&](const char* pointer) {
    json file = good;
    const json::json_pointer place(pointer);
    file.at(place.parent_pointer()).erase(place.back());
    return refused(file.dump());
  };
  EXPECT_EQ(without("/data/0/paragraphs"), path + ": data[0]: has no array 'paragraphs'" + as_official);
  EXPECT_EQ(without("/data/0/paragraphs/1/context"),
            path + ": data[0].paragraphs[1]: has no string 'context'" + as_official);
  EXPECT_EQ(without("/data/0/paragraphs/1/qas"), path + ": data[0].paragraphs[1]: has no array 'qas'" + as_official);
  EXPECT_EQ(without("/data/0/paragraphs/0/qas/2/question"),
            path + ": data[0].paragraphs[0].qas[2]: has no string 'question'" + as_official);
  EXPECT_EQ(without("/data/0/paragraphs/0/qas/0/answers"),
            path + ": data[0].paragraphs[0].qas[0]: has no array 'answers'" + as_official);
  EXPECT_EQ(without("/data/0/paragraphs/0/qas/0/answers/0/text"),
            path + ": data[0].paragraphs[0].qas[0].answers[0]: has no string 'text'" + as_official);
  EXPECT_EQ(refused("{\"data\": [7]}"), path + ": data[0]: has no array 'paragraphs'" + as_official);
}

TEST_F(Squad, RefusesWhatCannotRun) {
  const auto refused = [&](const PromptSpec& given) { return refusal([&] { make_prompt_source(given, codec_); }); };
  EXPECT_EQ(refused({.kind = TextTask::squad}),
            "squad needs its official JSON file, such as dev-v2.0.json: set squad_file");
  EXPECT_THAT(refused({.kind = TextTask::squad, .corpus = folder_ / "none"}),
              testing::HasSubstr("none: cannot be opened: No such file or directory (squad_file)"));
  PromptSpec given = four_bins();
  given.squad_bins = 0;
  EXPECT_EQ(refused(given), "squad_bins is 0: set it to the tokens that a bin spans, 1 or more");
  given.squad_bins = 50;
  given.squad_contexts = 0;
  EXPECT_EQ(refused(given), "squad_contexts is 0: set it to the contexts asked in a bin, 1 or more");

  std::vector<json> fourteen;
  for (int i = 0; i < 14; ++i) fourteen.push_back(paragraph("c" + std::to_string(i), 10));
  EXPECT_EQ(refused(spec(squad_of(fourteen).dump())),
            folder_ / "squad.json" +
                ": no bin of 50 tokens has 15 contexts with two answered questions, the fullest has 14: "
                "change squad_bins or squad_file");
  EXPECT_THAT(refused(spec("{\"data\": []}")), testing::HasSubstr("the fullest has 0"));

  const auto source = make_prompt_source(four_bins(), codec_);
  EXPECT_EQ(
      refusal([&] { source->check(100); }),
      folder_ / "squad.json" + ": no bin of squad that runs ends at 100 tokens: choose lengths among 50, 150, 350");
  EXPECT_EQ(refusal([&] { source->check(150); }), "taken");
  EXPECT_NE(refusal([&] { source->prompt(100, 0); }), "taken");
  for (const int64_t index : {-1, 15}) EXPECT_THROW(source->prompt(50, index), Error);
}

}  // namespace
}  // namespace recite
