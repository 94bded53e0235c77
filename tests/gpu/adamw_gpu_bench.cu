// The time of AdamW, and of the gradient's norm, on a GPU.
#include <cstdio>

#include "kernels/adamw/adamw_cuda.h"
#include "tests/gpu/queued_bench.h"

namespace recite::kernels {
namespace {

void bench(int64_t size, bool rounded, bool clear, double copied) {
  BenchMemory memory;
  const int64_t turns = size < 32 << 20 ? 4 : 1;  // more than the cache holds
  float *weights = memory.random<float>(turns * size, -1, 1), *gradients = memory.random<float>(turns * size, -1, 1);
  float *first = memory.random<float>(turns * size, -1, 1), *second = memory.random<float>(turns * size, 0, 1);
  __nv_bfloat16* rounded_weights = rounded ? memory.unset<__nv_bfloat16>(turns * size) : nullptr;
  auto* sum = memory.unset<double>(1);
  void* workspace = memory.unset<char>(squared_norm_workspace_bytes(size));
  const AdamWStep step{.learning_rate = 1e-4, .weight_decay = 0.1, .t = 10, .divisor = 100, .limit = 1};
  const double norm = queued_microseconds(
      [&](int i) { squared_norm_cuda(gradients + i % turns * size, size, sum, workspace, nullptr); });
  const double update = queued_microseconds([&](int i) {
    const int64_t begin = i % turns * size;
    adamw_cuda(step,
               {weights + begin, gradients + begin, first + begin, second + begin,
                rounded ? rounded_weights + begin : nullptr},
               size, sum, clear, nullptr);
  });
  const auto norm_bytes = 4.0 * static_cast<double>(size);
  const double bytes = static_cast<double>(size) * (28 + (rounded ? 2 : 0) + (clear ? 4 : 0));
  std::printf("norm / AdamW of %ld%s%s: %.1f / %.1f us, %.0f / %.0f MB, %.2f / %.2f of a copy\n", size,
              rounded ? ", rounded" : "", clear ? ", cleared" : "", norm, update, norm_bytes / 1e6, bytes / 1e6,
              norm_bytes / norm / copied, bytes / update / copied);
}

}  // namespace
}  // namespace recite::kernels

int main() {
  using namespace recite::kernels;
  const double copied = copied_bytes_per_microsecond();
  std::printf("copy: %.0f GB/s\n", copied / 1e3);
  bench(151'000'000, false, false, copied);
  bench(151'000'000, true, true, copied);
  bench(10'000'000, false, true, copied);
  bench(1'000'000, false, true, copied);
}
