#include "sweep/protocol.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "base/error.h"

namespace recite {
namespace {

template <class T>
T through_coordinator(const T& message) {
  return std::get<T>(decode_for_coordinator(encode(ToCoordinator(message))));
}

template <class T>
T through_worker(const T& message) {
  return std::get<T>(decode_for_worker(encode(ToWorker(message))));
}

TEST(Protocol, KeepsEveryBitOfARow) {
  LoggedStep sent{{3, 2}, {}};
  sent.row.step = 41;
  sent.row.loss = 0.1 + 0.2;
  sent.row.grad_norm = std::numeric_limits<double>::infinity();
  const LoggedStep got = through_coordinator(sent);
  EXPECT_EQ(got.id, sent.id);
  EXPECT_EQ(got.row.step, 41);
  EXPECT_EQ(std::bit_cast<uint64_t>(got.row.loss), std::bit_cast<uint64_t>(sent.row.loss));
  EXPECT_TRUE(std::isinf(got.row.grad_norm));
  EXPECT_TRUE(std::isnan(got.row.learning_rate)) << "not measured stays not measured";
}

TEST(Protocol, CarriesAWholeJob) {
  StartTry sent;
  sent.id = {5, 1};
  sent.job.model.architecture = Architecture::mamba;
  sent.job.train.learning_rate = 1.0 / 3;
  sent.job.eval.lengths = {5, 10};
  sent.job.eval.every_lengths = {10};
  sent.ranks = {2, 4};
  sent.group_name = "g";
  sent.folder = "a folder";
  sent.evaluate_only = true;
  sent.measured_step = 70;
  sent.measured = {{TaskKind::phone_book, 0, 20}, {TaskKind::prefix_ngram, 2, 30}};
  const StartTry got = through_worker(sent);
  EXPECT_EQ(nlohmann::json(got.job), nlohmann::json(sent.job));
  EXPECT_EQ(got.job.train.learning_rate, 1.0 / 3);
  EXPECT_EQ(got.ranks, sent.ranks);
  EXPECT_EQ(got.folder, sent.folder);
  EXPECT_TRUE(got.evaluate_only);
  EXPECT_EQ(got.measured_step, 70);
  EXPECT_EQ(got.measured, sent.measured);
}

TEST(Protocol, TellsKindsApart) {
  EXPECT_TRUE(std::holds_alternative<Drain>(decode_for_worker(encode(ToWorker(Drain{})))));
  EXPECT_EQ(through_worker(AbandonTry{{7, 3}}).id, (TryId{7, 3}));
  EXPECT_TRUE(through_worker(Quit{true}).some_rank_was_lost);
  const TryEnded ended = through_coordinator(TryEnded{{1, 1}, JobState::failed, 12, "why \"so\""});
  EXPECT_EQ(ended.state, JobState::failed);
  EXPECT_EQ(ended.message, "why \"so\"");
}

TEST(Protocol, RefusesWhatIsNoMessage) {
  EXPECT_THROW(decode_for_worker("nonsense"), Error);
  EXPECT_THROW(decode_for_worker(encode(ToCoordinator(Hello{}))), Error) << "Setup has other fields than Hello";
  EXPECT_THROW(decode_for_coordinator(""), Error);
}

}  // namespace
}  // namespace recite
