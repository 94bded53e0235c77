#include <gtest/gtest.h>

#include <thread>

#include "comm/transport.h"
#include "comm/waiting.h"

namespace recite {
namespace {

TEST(LocalTransport, CarriesMessagesInOrderBothWays) {
  auto [coordinator, worker] = make_local_transports();
  EXPECT_EQ(coordinator->rank(), 0);
  EXPECT_EQ(worker->rank(), 1);
  std::thread other([&end = *worker] {
    for (int i = 0; i < 1000; ++i) end.send(0, std::to_string(i));
  });
  for (int expected = 0; expected < 1000;) {
    const std::optional<Message> message = coordinator->receive();
    if (!message) continue;
    EXPECT_EQ(message->from, 1);
    ASSERT_EQ(message->body, std::to_string(expected));
    ++expected;
  }
  other.join();
  coordinator->send(1, std::string("a\0b", 3));
  EXPECT_EQ(worker->receive()->body, std::string("a\0b", 3));
  EXPECT_FALSE(worker->receive().has_value());
}

TEST(LocalTransport, GroupOfOneKeepsValues) {
  auto [coordinator, worker] = make_local_transports();
  const auto formed = worker->form_group({{1}, "g", false, 1, nullptr});
  double value = 3.5;
  formed->group().host.all_reduce_sum(&value, 1, ElementType::float64);
  EXPECT_EQ(value, 3.5);
  EXPECT_EQ(formed->group().size(), 1);
}

TEST(WaitUntil, EndsByDeadlineAndByWhatTheCallerThrows) {
  EXPECT_THROW(wait_until([] { return false; }, nullptr, 0.02, "test"), PeerLost);
  EXPECT_THROW(wait_until([] { return false; }, [] { throw Error("enough"); }, 10, "test"), Error);
  int looks = 0;
  wait_until([&] { return ++looks == 5; }, nullptr, 10, "test");
  EXPECT_EQ(looks, 5);
}

}  // namespace
}  // namespace recite
