#include "base/host.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <thread>

namespace recite {
namespace {

// On a thread of its own: the limit ends with it.
TEST(Host, CoresAreThoseThatAffinityAllows) {
  const int all = available_cores();
  EXPECT_GE(all, 1);
  std::thread([] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    EXPECT_EQ(available_cores(), 1);
  }).join();
  EXPECT_EQ(available_cores(), all);
}

}  // namespace
}  // namespace recite
