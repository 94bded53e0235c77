// On 4 ranks: sums, copies, messages and groups over MPI.
#include <gtest/gtest.h>

#include <chrono>
#include <numeric>

#include "support/rank_main.h"

namespace recite {
namespace {

using mpi_test::transport;

std::optional<Message> receive_within(double seconds) {
  const auto begin = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - begin < std::chrono::duration<double>(seconds))
    if (std::optional<Message> message = transport().receive()) return message;
  return std::nullopt;
}

std::unique_ptr<FormedGroup> group_of(const std::vector<int>& ranks, const std::string& name) {
  return transport().form_group({ranks, name, false, 20, nullptr});
}

TEST(MpiTransport, HasFourRanksAndFaultTolerance) {
  ASSERT_EQ(transport().size(), 4);
  EXPECT_TRUE(transport().survives_lost_ranks()) << transport().description();
}

TEST(MpiTransport, SendsToAndFromTheCoordinator) {
  if (transport().rank() == 0) {
    for (int rank = 1; rank < 4; ++rank) transport().send(rank, std::string(100000 * rank, 'x'));
    std::vector<int> seen(4, 0);
    for (int i = 0; i < 30; ++i) {
      const std::optional<Message> message = receive_within(10);
      ASSERT_TRUE(message);
      EXPECT_EQ(message->body, std::to_string(message->from) + ":" + std::to_string(seen.at(message->from)++));
    }
    EXPECT_EQ(seen, (std::vector<int>{0, 10, 10, 10}));
  } else {
    const std::optional<Message> message = receive_within(10);
    ASSERT_TRUE(message);
    EXPECT_EQ(message->body.size(), 100000U * transport().rank());
    for (int i = 0; i < 10; ++i) transport().send(0, std::to_string(transport().rank()) + ":" + std::to_string(i));
  }
}

// Small integers add exactly in floating point, and each rank brings other ones: doing nothing cannot pass.
template <class T>
void expect_exact_sum(Collective& collective, ElementType type, size_t count) {
  std::vector<T> data(count);
  for (size_t i = 0; i < count; ++i) data[i] = static_cast<T>((i % 17) * (collective.rank() + 1) + i % 5);
  collective.all_reduce_sum(data.data(), count, type);
  const size_t ranks = collective.size();
  for (size_t i = 0; i < count; ++i)
    ASSERT_EQ(data[i], static_cast<T>((i % 17) * (ranks * (ranks + 1) / 2) + ranks * (i % 5))) << i;
}

TEST(MpiCollective, SumsExactlyInEveryTypeAndSize) {
  const auto formed = group_of({0, 1, 2, 3}, "sums");
  Collective& collective = formed->group().host;
  ASSERT_EQ(collective.size(), 4);
  EXPECT_EQ(collective.rank(), transport().rank());
  for (const size_t count : {size_t{1}, size_t{2}, size_t{129}, size_t{100003}}) {
    expect_exact_sum<float>(collective, ElementType::float32, count);
    expect_exact_sum<double>(collective, ElementType::float64, count);
    expect_exact_sum<int64_t>(collective, ElementType::int64, count);
  }
  EXPECT_EQ(collective.sum(collective.rank() + 1.0), 10.0);
}

TEST(MpiCollective, SumsAndGathersPartsExactly) {
  const auto formed = group_of({0, 1, 2, 3}, "parts");
  Collective& collective = formed->group().host;
  const int rank = collective.rank();
  for (const size_t count : {size_t{1}, size_t{129}, size_t{100003}}) {
    std::vector<float> data(4 * count), part(count), all(4 * count), negative(4 * count);
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<float>((i % 17) * (rank + 1));
    collective.start_reduce_scatter_sum(data.data(), part.data(), count, ElementType::float32);
    std::vector<float> opposite(count);
    for (size_t i = 0; i < count; ++i) {
      ASSERT_EQ(part[i], static_cast<float>((rank * count + i) % 17 * 10)) << i;
      opposite[i] = -part[i];
    }
    collective.start_all_gather({{part.data(), all.data()}, {opposite.data(), negative.data()}}, count * sizeof(float),
                                ElementType::bytes);
    collective.join();
    for (size_t i = 0; i < all.size(); ++i) {
      ASSERT_EQ(all[i], static_cast<float>(i % 17 * 10)) << i;
      ASSERT_EQ(negative[i], -all[i]) << i;
    }
  }
}

TEST(MpiCollective, BroadcastsFromAnyRoot) {
  const auto formed = group_of({0, 1, 2, 3}, "copies");
  for (int root = 0; root < 4; ++root) {
    std::vector<float> data(1000, static_cast<float>(transport().rank()));
    formed->group().host.broadcast(data.data(), data.size(), ElementType::float32, root);
    EXPECT_EQ(data, std::vector<float>(1000, static_cast<float>(root)));
  }
}

TEST(MpiTransport, FormsSeveralGroupsAtOnceInAnyOrderOfRanks) {
  const bool odd = transport().rank() % 2 == 1;
  const auto formed = group_of(odd ? std::vector<int>{3, 1} : std::vector<int>{0, 2}, odd ? "odd" : "even");
  EXPECT_EQ(formed->group().size(), 2);
  EXPECT_EQ(formed->group().rank(), odd ? (transport().rank() == 3 ? 0 : 1) : transport().rank() / 2);
  EXPECT_EQ(formed->group().host.sum(transport().rank()), odd ? 4.0 : 2.0);
}

TEST(MpiTransport, GroupOfOneIsTheIdentity) {
  const auto formed = group_of({transport().rank()}, "alone");
  EXPECT_EQ(formed->group().host.sum(2.5), 2.5);
}

}  // namespace
}  // namespace recite
