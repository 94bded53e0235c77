// On 4 ranks: rank 3 is killed inside an all-reduce of {1, 2, 3}.
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "support/rank_main.h"

namespace recite {
namespace {

using mpi_test::transport;

void die_in_third_all_reduce(Collective& collective, std::vector<float>& data) {
  collective.all_reduce_sum(data.data(), data.size(), ElementType::float32);
  collective.all_reduce_sum(data.data(), data.size(), ElementType::float32);
  std::raise(SIGKILL);
}

TEST(LostRank, IsNoticedByItsPeersAndTheCoordinatorAndTheOthersFormANewGroup) {
  ASSERT_EQ(transport().size(), 4);
  mpi_test::rank_was_lost = true;
  const auto seconds = [begin = std::chrono::steady_clock::now()] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  if (transport().rank() == 0) {
    std::vector<int> lost;
    std::vector<std::string> heard;
    const auto hear = [&] {
      if (const std::optional<Message> message = transport().receive()) heard.push_back(message->body);
    };
    while (lost.empty() && seconds() < 20) {
      hear();
      lost = transport().take_lost_ranks();
    }
    EXPECT_EQ(lost, std::vector<int>{3});
    EXPECT_FALSE(transport().every_rank_lives());
    transport().send(3, "to a dead rank");  // dropped
    while (heard.size() < 2 && seconds() < 20) hear();
    for (const int rank : {1, 2}) transport().send(rank, "form");
    while (heard.size() < 4 && seconds() < 20) hear();
    EXPECT_EQ(heard, (std::vector<std::string>{"left", "left", "3", "3"}));
    return;
  }
  std::vector<float> data(1 << 20, 1.0F);
  {
    const auto formed = transport().form_group({{1, 2, 3}, "before", false, 20, nullptr});
    Collective& collective = formed->group().host;
    if (transport().rank() == 3) die_in_third_all_reduce(collective, data);
    collective.all_reduce_sum(data.data(), data.size(), ElementType::float32);
    collective.all_reduce_sum(data.data(), data.size(), ElementType::float32);
    EXPECT_EQ(data.front(), 9.0F);
    EXPECT_THROW(for (int i = 0; i < 3; ++i) collective.all_reduce_sum(data.data(), data.size(), ElementType::float32),
                 PeerLost);
    EXPECT_LT(seconds(), 15);
  }
  // As workers do. A rank that forms a group makes no progress in MPI until its peers are there, so that none may still
  // wait in the old group for what this one has to tell it.
  transport().send(0, "left");
  std::optional<Message> message;
  while (!(message = transport().receive()) && seconds() < 20) continue;
  ASSERT_TRUE(message);
  const auto formed = transport().form_group({{1, 2}, "after", false, 20, nullptr});
  const double sum = formed->group().host.sum(transport().rank());
  EXPECT_EQ(sum, 3.0);
  transport().send(0, std::to_string(static_cast<int>(sum)));
}

}  // namespace
}  // namespace recite
