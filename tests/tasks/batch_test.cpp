#include "tasks/batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <string>

#include "tests/tasks/parsed_example.h"

namespace recite {
namespace {

TaskSpec spec(TaskKind kind, int n_gram = 0, int length_answer = 0) {
  return {.kind = kind, .n_gram = n_gram, .length_answer = length_answer};
}

TrainSpec train(int min_length = 5, int max_length = 20, int context_length = 220) {
  return {.seed = 3, .min_length = min_length, .max_length = max_length, .context_length = context_length};
}

// A row of a batch as text: its tokens, and '^' under each token that carries loss.
struct RowText {
  std::string tokens;
  std::string marks;
  bool operator==(const RowText&) const = default;
};

RowText row_text(const Task& task, const Batch& batch, int row) {
  const size_t at = static_cast<size_t>(row) * batch.time;
  const auto inputs = task.alphabet().text(std::span(batch.inputs).subspan(at, batch.time));
  const auto targets = task.alphabet().text(std::span(batch.targets).subspan(at, batch.time));
  // The shift by one token; at the end of a padded row the last token is a target only.
  const std::string tokens = inputs[0] + targets;
  const size_t end = inputs.find('*');
  EXPECT_EQ(inputs.substr(0, end), tokens.substr(0, end == std::string::npos ? inputs.size() : end));
  std::string marks = " ";
  for (int t = 0; t < batch.time; ++t) marks += batch.loss_mask[at + t] ? '^' : ' ';
  return {tokens, marks};
}

std::string unpadded(const std::string& text) { return text.substr(0, text.find('*')); }

// The whole examples of a packed row, read token by token from its text, and the marks that they must have.
struct SlowRow {
  std::vector<std::string> examples;
  std::string cut;
  std::string marks;
};

SlowRow read_row(const TaskSpec& task, const std::string& tokens) {
  SlowRow row;
  std::string current;
  for (const char token : tokens) {
    current += token;
    if (token != '.') continue;
    const auto example = parse_example(task, current);
    EXPECT_TRUE(example) << current;
    if (!example) return row;
    row.marks += std::string(example->answer_begin, ' ') + std::string(example->answer.size() + 1, '^');
    row.examples.push_back(current);
    current.clear();
  }
  row.cut = current;
  row.marks += std::string(current.size(), ' ');
  return row;
}

class TrainingBatchOf : public testing::TestWithParam<TaskSpec> {};

TEST_P(TrainingBatchOf, PacksWholeExamplesAndCutsTheLast) {
  const Task task(GetParam());
  const TrainSpec settings = train(8, 20, 100);
  const Batch batch = training_batch(task, settings, 4, 0, 40);
  ASSERT_EQ(batch.rows, 40);
  ASSERT_EQ(batch.time, 99);
  int64_t examples = 0;
  int64_t marks = 0;
  int cut_in_the_answer = 0;
  for (int i = 0; i < batch.rows; ++i) {
    const RowText row = row_text(task, batch, i);
    ASSERT_EQ(row.tokens.size(), 100u);
    const SlowRow slow = read_row(task.spec(), row.tokens);
    EXPECT_EQ(row.marks, slow.marks) << row.tokens;
    EXPECT_GE(slow.examples.size(), 1u);
    examples += static_cast<int64_t>(slow.examples.size());
    marks += std::count(slow.marks.begin(), slow.marks.end(), '^');
    for (const std::string& text : slow.examples) {
      const size_t length = parse_example(task.spec(), text)->string.size();
      EXPECT_TRUE(length >= 8 && length <= 20) << text;
    }
    if (!slow.cut.empty()) {
      EXPECT_EQ(slow.cut.front(), '$');
      cut_in_the_answer +=
          std::count(slow.cut.begin(), slow.cut.end(), '|') == (task.spec().kind == TaskKind::prefix_ngram ? 2 : 1);
    }
    EXPECT_EQ(batch.global_row[i], i);
    EXPECT_EQ(batch.first_position[i], 0);
  }
  EXPECT_EQ(batch.examples, examples);
  EXPECT_EQ(batch.answer_tokens(), marks);
  EXPECT_GT(cut_in_the_answer, 0);
}

// A row is what its own stream draws: lengths and examples in turn.
TEST_P(TrainingBatchOf, RowsAreDrawnFromTheStreamOfTheirGlobalRow) {
  const Task task(GetParam());
  const Batch batch = training_batch(task, train(), 7, 11, 3);
  for (int i = 0; i < batch.rows; ++i) {
    PhiloxStream random(Purpose::training_string, 3, {7, static_cast<uint64_t>(11 + i)});
    std::string expected;
    while (expected.size() < 220) {
      const int length = 5 + static_cast<int>(random.below(16));
      expected += task.alphabet().text(task.draw(length, random).tokens);
    }
    EXPECT_EQ(row_text(task, batch, i).tokens, expected.substr(0, 220));
  }
}

TEST_P(TrainingBatchOf, RowsAreTheSameHoweverTheyAreSplit) {
  const Task task(GetParam());
  for (const PackedState state : {PackedState::carry, PackedState::reset}) {
    TrainSpec settings = train();
    settings.packed_state = state;
    const auto rows_of = [&](int64_t first, int count) {
      const Batch batch = training_batch(task, settings, 2, first, count);
      std::vector<std::string> rows;
      for (int i = 0; i < batch.rows; ++i) {
        const RowText row = row_text(task, batch, i);
        const std::string tokens = unpadded(row.tokens);
        rows.push_back(tokens + row.marks.substr(0, tokens.size()) + std::to_string(batch.global_row[i]) + "," +
                       std::to_string(batch.first_position[i]));
      }
      return rows;
    };
    const std::vector<std::string> whole = rows_of(0, 12);
    for (const int part : {1, 3, 4, 6}) {
      std::vector<std::string> joined;
      for (int first = 0; first < 12; first += part) {
        for (const std::string& row : rows_of(first, part)) joined.push_back(row);
      }
      EXPECT_EQ(joined, whole) << part;
    }
  }
}

TEST_P(TrainingBatchOf, ResetHoldsTheSameExamplesInTheSameOrder) {
  const Task task(GetParam());
  TrainSpec settings = train();
  const Batch packed = training_batch(task, settings, 5, 20, 8);
  settings.packed_state = PackedState::reset;
  const Batch reset = training_batch(task, settings, 5, 20, 8);

  int next = 0;
  size_t longest = 0;
  for (int i = 0; i < packed.rows; ++i) {
    int position = 0;
    for (const std::string& example : read_row(task.spec(), row_text(task, packed, i).tokens).examples) {
      ASSERT_LT(next, reset.rows);
      const RowText row = row_text(task, reset, next);
      EXPECT_EQ(unpadded(row.tokens), example);
      EXPECT_EQ(row.tokens.substr(example.size()), std::string(row.tokens.size() - example.size(), '*'));
      const SlowRow slow = read_row(task.spec(), example);
      EXPECT_EQ(row.marks, slow.marks + std::string(row.marks.size() - example.size(), ' '));
      EXPECT_EQ(reset.global_row[next], 20 + i);
      EXPECT_EQ(reset.first_position[next], position);
      position += static_cast<int>(example.size());
      longest = std::max(longest, example.size());
      ++next;
    }
  }
  EXPECT_EQ(next, reset.rows);
  EXPECT_EQ(reset.time, static_cast<int>(longest) - 1);
  EXPECT_EQ(reset.examples, packed.examples);
  EXPECT_EQ(reset.examples, reset.rows);
  EXPECT_EQ(reset.answer_tokens(), packed.answer_tokens());
}

INSTANTIATE_TEST_SUITE_P(Tasks, TrainingBatchOf,
                         testing::Values(spec(TaskKind::copy), spec(TaskKind::copy, 0, 4),
                                         spec(TaskKind::prefix_ngram, 2), spec(TaskKind::prefix_ngram, 2, 2),
                                         spec(TaskKind::suffix_ngram, 3), spec(TaskKind::suffix_ngram, 1, 1)));

// Copies of 5 letters take 13 tokens.
TEST(TrainingBatch, AnExampleThatEndsWithTheContextIsWhole) {
  const Task task(spec(TaskKind::copy));
  const auto marks_at = [&](int context) {
    return row_text(task, training_batch(task, train(5, 5, context), 0, 0, 1), 0).marks;
  };
  const std::string one = std::string(7, ' ') + std::string(6, '^');
  EXPECT_EQ(marks_at(13), one);
  EXPECT_EQ(marks_at(14), one + " ");
  EXPECT_EQ(marks_at(25), one + std::string(12, ' '));  // the second one lacks only its end mark
  EXPECT_EQ(marks_at(26), one + one);
}

TEST(TrainingBatch, OfNoRowsIsEmpty) {
  for (const PackedState state : {PackedState::carry, PackedState::reset}) {
    TrainSpec settings = train();
    settings.packed_state = state;
    const Batch batch = training_batch(Task(spec(TaskKind::copy)), settings, 0, 0, 0);
    EXPECT_EQ(batch.rows, 0);
    EXPECT_EQ(batch.examples, 0);
    EXPECT_TRUE(batch.inputs.empty() && batch.targets.empty() && batch.loss_mask.empty());
  }
}

// Of the first example only: the longer an example, the more likely the context cuts it.
TEST(TrainingBatch, LengthsAreUniformAndBothEndsAreIncluded) {
  const Task task(spec(TaskKind::copy));
  const Batch batch = training_batch(task, train(3, 12, 27), 0, 0, 5000);
  std::map<size_t, int> counts;
  for (int i = 0; i < batch.rows; ++i) ++counts[row_text(task, batch, i).tokens.find('|') - 1];
  EXPECT_EQ(counts.size(), 10u);
  EXPECT_EQ(counts.begin()->first, 3u);
  for (const auto& [length, count] : counts) EXPECT_NEAR(count, 500, 5 * std::sqrt(500)) << length;
}

TEST(TrainingBatch, DiffersBySeedStepAndRow) {
  const Task task(spec(TaskKind::copy));
  std::set<std::string> rows;
  for (int64_t seed = 0; seed < 3; ++seed) {
    for (int64_t step = 0; step < 3; ++step) {
      TrainSpec settings = train();
      settings.seed = seed;
      const Batch batch = training_batch(task, settings, step, 0, 3);
      for (int i = 0; i < batch.rows; ++i) rows.insert(row_text(task, batch, i).tokens);
    }
  }
  EXPECT_EQ(rows.size(), 27u);
}

std::vector<std::string> evaluation_strings(const TaskSpec& task_spec, int64_t seed, int length, int64_t first,
                                            int count) {
  const Task task(task_spec);
  const EvalBatch batch = evaluation_batch(task, seed, length, first, count);
  EXPECT_EQ(batch.rows, count);
  EXPECT_EQ(batch.tokens.size(), static_cast<size_t>(batch.rows) * batch.time);
  std::vector<std::string> strings;
  size_t longest = 0;
  for (int i = 0; i < batch.rows; ++i) {
    const auto tokens = std::span(batch.tokens).subspan(static_cast<size_t>(i) * batch.time, batch.time);
    const std::string padded = task.alphabet().text(tokens);
    const std::string text = unpadded(padded);
    EXPECT_EQ(padded, text + std::string(padded.size() - text.size(), '*'));
    const auto example = parse_example(task_spec, text);
    EXPECT_TRUE(example) << text;
    if (!example) continue;
    EXPECT_EQ(example->string.size(), static_cast<size_t>(length));
    EXPECT_EQ(batch.answer_begin[i], static_cast<int>(example->answer_begin));
    EXPECT_EQ(batch.answer_length[i], static_cast<int>(example->answer.size()));
    longest = std::max(longest, text.size());
    strings.push_back(text);
  }
  EXPECT_EQ(batch.time, static_cast<int>(longest));
  return strings;
}

TEST(EvaluationBatch, StringsAreTheSameHoweverTheyAreSplit) {
  for (const TaskSpec& task : {spec(TaskKind::copy), spec(TaskKind::prefix_ngram, 2),
                               spec(TaskKind::suffix_ngram, 3, 2), spec(TaskKind::duplicate_ngram, 4)}) {
    const std::vector<std::string> whole = evaluation_strings(task, 1, 25, 0, 24);
    for (const int part : {1, 5, 8}) {
      std::vector<std::string> joined;
      for (int first = 0; first < 24; first += part) {
        for (const std::string& text : evaluation_strings(task, 1, 25, first, std::min(part, 24 - first))) {
          joined.push_back(text);
        }
      }
      EXPECT_EQ(joined, whole) << name_of(task.kind) << " " << part;
    }
  }
}

TEST(EvaluationBatch, StringsAreNamedBySeedTaskNgramLengthAndIndex) {
  const auto name = [](const TaskSpec& task, uint64_t seed, uint64_t length, uint64_t index) {
    PhiloxStream random(Purpose::evaluation_string, seed,
                        {static_cast<uint64_t>(task.kind), static_cast<uint64_t>(task.n_gram), length, index});
    const Task drawn(task);
    return drawn.alphabet().text(drawn.draw(static_cast<int>(length), random).tokens);
  };
  std::set<std::string> different;
  for (const TaskSpec& task :
       {spec(TaskKind::copy), spec(TaskKind::suffix_ngram, 2), spec(TaskKind::suffix_ngram, 3)}) {
    for (int64_t seed = 0; seed < 2; ++seed) {
      for (const int length : {20, 21}) {
        const std::vector<std::string> strings = evaluation_strings(task, seed, length, 5, 2);
        EXPECT_THAT(strings, testing::ElementsAre(name(task, seed, length, 5), name(task, seed, length, 6)));
        different.insert(strings.begin(), strings.end());
      }
    }
  }
  EXPECT_EQ(different.size(), 3u * 2 * 2 * 2);
}

// Results of different builds are compared point by point: what is drawn must never change. The strings were made by
// another implementation of the generator and of the tasks.
TEST(DrawnStrings, StayTheSameForEver) {
  EXPECT_THAT(evaluation_strings(spec(TaskKind::copy), 0, 20, 0, 1),
              testing::ElementsAre("$cgmrpbponvhndqjndttv|cgmrpbponvhndqjndttv."));
  EXPECT_THAT(evaluation_strings(spec(TaskKind::prefix_ngram, 2), 0, 12, 3, 1),
              testing::ElementsAre("$yr|yrudxgptppga|udxgptppga."));
  const Task copy(spec(TaskKind::copy));
  TrainSpec settings = train();
  settings.seed = 0;
  EXPECT_THAT(row_text(copy, training_batch(copy, settings, 0, 0, 1), 0).tokens,
              testing::StartsWith("$crmbbceth|crmbbceth.$kpcatcdqqscxmtspkg|kpcatcdqqscxmtspkg."));
}

TEST(DrawnStrings, OfEachTaskStayTheSameForEver) {
  EXPECT_THAT(evaluation_strings(spec(TaskKind::suffix_ngram, 3), 0, 16, 7, 1),
              testing::ElementsAre("$jttqxnspysawfpnv|awfpnv."));
  EXPECT_THAT(evaluation_strings(spec(TaskKind::duplicate_ngram, 2), 0, 14, 2, 1),
              testing::ElementsAre("$crsigllrllegpg|crsigllrllegpg."));
  TaskSpec any = spec(TaskKind::suffix_ngram, 1);
  any.vocab_size = 4;
  any.ngram_key = NgramKey::any;
  EXPECT_THAT(evaluation_strings(any, 0, 14, 1, 1), testing::ElementsAre("$bdccadcdacbbcd|ccadcdacbbcd."));
}

// A string of five letters often has none that occurs once, and is drawn again.
TEST(DrawnStrings, OfTrainingRowsStayTheSameForEver) {
  const auto row = [](const TaskSpec& task_spec) {
    const Task task(task_spec);
    return row_text(task, training_batch(task, train(5, 20, 64), 3, 9, 1), 0).tokens;
  };
  EXPECT_EQ(row(spec(TaskKind::prefix_ngram, 2)), "$ka|wqtzbbkaqdnxcz|qdnxcz.$ro|qcoqveromebnaux|mebnaux.$yd|jgzdho");
  EXPECT_EQ(row(spec(TaskKind::suffix_ngram, 2)), "$wqtzbbkaqdnxcz|kaqdnxcz.$qcoqveromebnaux|romebnaux.$jgzdhopiony");
  TaskSpec few = spec(TaskKind::suffix_ngram, 1, 1);
  few.vocab_size = 5;
  EXPECT_EQ(row(few), "$cddacdeadccaac|ea.$dcceacaceccbebcab|dc.$dbbaaea|ea.$edbeccabcb");
}

// Models trained on different answers or n-grams are asked to copy the same strings.
TEST(EvaluationBatch, StringsDoNotDependOnTheRestOfTheSpec) {
  const std::vector<std::string> whole = evaluation_strings(spec(TaskKind::copy), 0, 30, 0, 4);
  EXPECT_EQ(evaluation_strings(spec(TaskKind::copy, 3), 0, 30, 0, 4), whole);
  const std::vector<std::string> cut = evaluation_strings(spec(TaskKind::copy, 0, 5), 0, 30, 0, 4);
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_EQ(cut[i], whole[i].substr(0, 32 + 5) + ".");
}

}  // namespace
}  // namespace recite
