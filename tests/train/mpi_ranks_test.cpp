// On 4 MPI ranks: training on groups of 2 and 4 is training on one.
#include <gtest/gtest.h>

#include <numeric>

#include "support/rank_main.h"
#include "train/compare_ranks.h"
#include "train/tiny_job.h"

namespace recite {
namespace {

class MpiRanks : public ::testing::TestWithParam<std::tuple<Architecture, Precision>> {};

TEST_P(MpiRanks, TrainAsOneDoes) {
  const auto& [architecture, precision] = GetParam();
  const double tolerance = precision == Precision::float64 ? 1e-10 : 1e-4;
  torch::set_num_threads(1);
  Transport& transport = mpi_test::transport();
  ASSERT_EQ(transport.size(), 4);
  for (const int size : {2, 4}) {
    std::vector<int> ranks(size);
    std::iota(ranks.begin(), ranks.end(), transport.rank() / size * size);
    const std::string name = ::testing::UnitTest::GetInstance()->current_test_info()->name() +
                             std::to_string(ranks[0]) + "of" + std::to_string(size);
    const auto formed = transport.form_group({ranks, name, false, 60, nullptr});
    ASSERT_EQ(formed->group().size(), size);
    const RankDifference difference = compare_with_one_rank(tiny_job(architecture, precision), formed->group());
    EXPECT_TRUE(difference.losses <= tolerance) << difference.losses;
    EXPECT_TRUE(difference.grad_norms <= tolerance) << difference.grad_norms;
    EXPECT_TRUE(difference.weights <= tolerance) << difference.weights;
    EXPECT_TRUE(difference.counts_equal);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, MpiRanks,
                         ::testing::Combine(::testing::Values(Architecture::rope, Architecture::nope,
                                                              Architecture::alibi, Architecture::hard_alibi,
                                                              Architecture::mamba, Architecture::lstm),
                                            ::testing::Values(Precision::float32, Precision::float64)));

}  // namespace
}  // namespace recite
