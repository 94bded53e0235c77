// main() of tests that run on several MPI ranks: every rank runs all tests in step, and leaves a file passed-RANK in
// RECITE_TEST_FOLDER when its own have passed (tests/support/run_ranks.sh counts them).
#include "support/rank_main.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

namespace recite::mpi_test {

namespace {
std::unique_ptr<Transport> transport_of_test;
}

Transport& transport() { return *transport_of_test; }

bool rank_was_lost = false;

}  // namespace recite::mpi_test

int main(int argc, char** argv) {
  using namespace recite;
  ::testing::InitGoogleTest(&argc, argv);
  if (!launched_by_mpi()) {
    std::fprintf(stderr, "%s needs mpirun: tests/support/run_ranks.sh starts it\n", argv[0]);
    return 2;
  }
  mpi_test::transport_of_test = make_mpi_transport();
  const int rank = mpi_test::transport().rank();
  if (rank != 0)
    delete ::testing::UnitTest::GetInstance()->listeners().Release(
        ::testing::UnitTest::GetInstance()->listeners().default_result_printer());
  const char* wanted = std::getenv("RECITE_TEST_RANKS");
  const bool right_size = wanted != nullptr && mpi_test::transport().size() == std::atoi(wanted);
  const bool passed = RUN_ALL_TESTS() == 0 && right_size && ::testing::UnitTest::GetInstance()->test_to_run_count() > 0;
  if (!passed) std::fprintf(stderr, "rank %d: failed\n", rank);
  if (passed)
    std::ofstream(std::string(std::getenv("RECITE_TEST_FOLDER")) + "/passed-" + std::to_string(rank)) << "1\n";
  mpi_test::transport().leave(mpi_test::rank_was_lost);
  return 0;
}
