// Times of what the ranks of a group do together in a training step, on one GPU a rank:
//
//   launch/mpirun.sh -n RANKS build/release/gpu_nccl_bench
//
// over NCCL as training queues it: the reduce-scatters of float32 gradients, bucket by bucket; the all-gathers of their
// bf16 weights, as one; an all-reduce; and AdamW, of all weights and of a rank's share of them. Rank 0 prints one JSON
// object each to stdout (scaling.py reads them). `bytes` are of all gradients, or of all that is gathered or summed.
// The bus bandwidth is that of nccl-tests: each link of a ring carries (n - 1) / n of the bytes, of an all-reduce
// twice.
#include <cstdint>
#include <cstdio>
#include <memory>
#include <numeric>
#include <vector>

#include "comm/transport.h"
#include "kernels/adamw/adamw_cuda.h"
#include "tests/gpu/bench.h"

namespace recite {
namespace {

constexpr int64_t bucket_bytes = 128 << 20;  // FlatParameters::default_bucket_bytes
constexpr int64_t parameters = 151'200'000;  // rope, 12 layers of 1024

void print(const char* operation, double bytes, int ranks, double microseconds, double carried) {
  nlohmann::ordered_json line = {
      {"operation", operation}, {"bytes", bytes}, {"ranks", ranks}, {"microseconds", microseconds}};
  if (carried > 0) line["bus_bytes_per_second"] = carried * bytes / microseconds * 1e6;
  std::puts(line.dump().c_str());
  std::fflush(stdout);
}

// Of one call among `calls` that are queued; the mean over the ranks.
template <class Start>
double microseconds_of(Group group, int calls, const Start& start) {
  const double mine = kernels::queued_microseconds([&](int) {
    for (int call = 0; call < calls; ++call) start();
    group.device.join();
  });
  return group.host.sum(mine / calls) / group.size();
}

void time_exchange(Group group, int64_t count, int calls) {
  const int ranks = group.size();
  const int64_t buckets = (4 * count + bucket_bytes - 1) / bucket_bytes, share = count / buckets / ranks;
  const double numbers = static_cast<double>(buckets * share * ranks), link = (ranks - 1.0) / ranks;
  // Zeros stay zeros, however often they are summed.
  const auto zeros = [](kernels::BenchMemory& memory, int64_t size) {
    char* data = memory.unset<char>(size);
    kernels::check_bench(cudaMemset(data, 0, size));
    return data;
  };
  kernels::BenchMemory memory;
  char *all = zeros(memory, 4 * buckets * share * ranks), *part = zeros(memory, 4 * buckets * share);

  const double sums = microseconds_of(group, calls, [&] {
    for (int64_t bucket = buckets - 1; bucket >= 0; --bucket)
      group.device.start_reduce_scatter_sum(all + 4 * bucket * share * ranks, part + 4 * bucket * share, share,
                                            ElementType::float32);
  });
  std::vector<Collective::Gather> copies;
  for (int64_t bucket = 0; bucket < buckets; ++bucket)
    copies.push_back({part + 2 * bucket * share, all + 2 * bucket * share * ranks});
  const double gathers =
      microseconds_of(group, calls, [&] { group.device.start_all_gather(copies, 2 * share, ElementType::bytes); });
  const double all_reduce = microseconds_of(
      group, calls, [&] { group.device.start_all_reduce_sum(all, buckets * share * ranks, ElementType::float32); });
  if (group.rank() != 0) return;
  print("reduce-scatter", 4 * numbers, ranks, sums, link);
  print("all-gather", 2 * numbers, ranks, gathers, link);
  print("all-reduce", 4 * numbers, ranks, all_reduce, 2 * link);
}

void time_update(int ranks) {
  const int64_t size = parameters / ranks;
  kernels::BenchMemory memory;
  const auto zeros = [&] {
    auto* numbers = memory.unset<float>(size);
    kernels::check_bench(cudaMemset(numbers, 0, size * sizeof(float)));
    return numbers;
  };
  const kernels::AdamWBuffers buffers{zeros(), zeros(), zeros(), zeros(), memory.unset<__nv_bfloat16>(size)};
  const kernels::AdamWStep step{.learning_rate = 1e-4, .weight_decay = 0.1, .t = 10, .divisor = 100, .limit = 0};
  const double time =
      kernels::queued_microseconds([&](int) { kernels::adamw_cuda(step, buffers, size, nullptr, nullptr); });
  print("AdamW", 4.0 * parameters, ranks, time, 0);
}

void time_step(Group group) {
  time_exchange(group, 1 << 18, 20);
  time_exchange(group, parameters, 1);
  if (group.rank() != 0) return;
  for (const int ranks : {1, group.size()}) time_update(ranks);
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
    std::fprintf(stderr, "%s: one rank has nothing to exchange: start it on two or more\n", argv[0]);
    return 2;
  }
  int gpus = 0;
  kernels::check_bench(cudaGetDeviceCount(&gpus));
  kernels::check_bench(cudaSetDevice(transport->rank() % gpus));
  std::vector<int> ranks(static_cast<size_t>(transport->size()));
  std::iota(ranks.begin(), ranks.end(), 0);
  {
    const std::unique_ptr<FormedGroup> formed = transport->form_group({ranks, "bench", true, 60, nullptr});
    time_step(formed->group());
  }
  transport->leave(false);
  return 0;
}
