// Times of all-reduces over NCCL as training queues them, on one GPU a rank:
//
//   launch/mpirun.sh -n RANKS build/release/gpu_nccl_bench
//
// Sums of float32 in place; what is larger than a bucket of gradients is summed bucket by bucket. Rank 0 prints one
// JSON object a size to stdout (scaling.py reads them). The bus bandwidth is that of nccl-tests: each link of a ring
// carries 2 (n - 1) / n of the bytes.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <numeric>
#include <vector>

#include "comm/transport.h"
#include "tests/gpu/bench.h"

namespace recite {
namespace {

constexpr int64_t bucket_bytes = 32 << 20;                        // of train/gradient_reducer.h
constexpr int64_t gradient_bytes = sizeof(float) * 151'200'000L;  // rope, 12 layers of 1024

// From the last bucket to the first, as a backward pass completes them.
void start_sums(Collective& device, char* data, int64_t bytes) {
  for (int64_t begin = (bytes - 1) / bucket_bytes * bucket_bytes; begin >= 0; begin -= bucket_bytes) {
    const auto count = static_cast<size_t>(std::min(bucket_bytes, bytes - begin)) / sizeof(float);
    device.start_all_reduce_sum(data + begin, count, ElementType::float32);
  }
}

// Of one sum among several that are queued; the mean over the ranks.
double microseconds_of_sum(Group group, char* data, int64_t bytes) {
  const int64_t sums = std::clamp<int64_t>(gradient_bytes / bytes, 1, 20);
  const double mine = kernels::queued_microseconds([&](int) {
    for (int64_t i = 0; i < sums; ++i) start_sums(group.device, data, bytes);
    group.device.join();
  });
  return group.host.sum(mine / static_cast<double>(sums)) / group.size();
}

void time_sums(Group group) {
  kernels::BenchMemory memory;
  char* data = memory.unset<char>(gradient_bytes);
  kernels::check_bench(cudaMemset(data, 0, gradient_bytes));  // zeros stay zeros, however often they are summed
  for (const int64_t bytes : {int64_t{1} << 20, bucket_bytes, gradient_bytes}) {
    const double time = microseconds_of_sum(group, data, bytes);
    if (group.rank() != 0) continue;
    const double carried = 2.0 * (group.size() - 1) / group.size() * static_cast<double>(bytes);
    const nlohmann::ordered_json line = {{"bytes", bytes},
                                         {"ranks", group.size()},
                                         {"microseconds", time},
                                         {"bus_bytes_per_second", carried / time * 1e6}};
    std::puts(line.dump().c_str());
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace recite

int main(int, char** argv) {
  using namespace recite;
  if (!launched_by_mpi()) {
    std::fprintf(stderr, "%s needs mpirun: launch/mpirun.sh starts it\n", argv[0]);
    return 2;
  }
  const std::unique_ptr<Transport> transport = make_mpi_transport();
  if (transport->size() < 2) {
    std::fprintf(stderr, "%s: one rank has nothing to sum: start it on two or more\n", argv[0]);
    return 2;
  }
  int gpus = 0;
  kernels::check_bench(cudaGetDeviceCount(&gpus));
  kernels::check_bench(cudaSetDevice(transport->rank() % gpus));
  std::vector<int> ranks(static_cast<size_t>(transport->size()));
  std::iota(ranks.begin(), ranks.end(), 0);
  {
    const std::unique_ptr<FormedGroup> formed = transport->form_group({ranks, "sums", true, 60, nullptr});
    time_sums(formed->group());
  }
  transport->leave(false);
  return 0;
}
