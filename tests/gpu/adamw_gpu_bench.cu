// The time of AdamW, and of the gradient's norm, on a GPU.
#include "kernels/adamw/adamw_cuda.h"
#include "tests/gpu/bench.h"

namespace recite::kernels {
namespace {

void bench_squared_norm(const Bench& bench, int64_t size) {
  BenchMemory memory;
  const double bytes = 4.0 * static_cast<double>(size);
  const int64_t turns = turns_of(bytes);
  const float* gradients = memory.random<float>(turns * size, -1, 1);
  auto* sum = memory.unset<double>(1);
  void* workspace = memory.unset<char>(squared_norm_workspace_bytes(size));
  bench.time({"squared norm", {{"n", size}}, "float32", "step", bytes},
             [&](int i) { squared_norm_cuda(gradients + i % turns * size, size, sum, workspace, nullptr); });
}

// `rounded`: bf16 weights are written, too.
void bench_adamw(const Bench& bench, int64_t size, bool rounded) {
  BenchMemory memory;
  const double bytes = static_cast<double>(size) * (28 + (rounded ? 2 : 0));
  const int64_t turns = turns_of(bytes);
  float *weights = memory.random<float>(turns * size, -1, 1), *gradients = memory.random<float>(turns * size, -1, 1);
  float *first = memory.random<float>(turns * size, -1, 1), *second = memory.random<float>(turns * size, 0, 1);
  __nv_bfloat16* rounded_weights = rounded ? memory.unset<__nv_bfloat16>(turns * size) : nullptr;
  const double* sum = memory.copied(std::vector<double>{1});
  const AdamWStep step{.learning_rate = 1e-4, .weight_decay = 0.1, .t = 10, .divisor = 100, .limit = 1};
  const nlohmann::ordered_json shape = {{"n", size}, {"bf16 weights", rounded}};
  bench.time({"AdamW", shape, "float32", "step", bytes}, [&](int i) {
    const int64_t begin = i % turns * size;
    adamw_cuda(step,
               {weights + begin, gradients + begin, first + begin, second + begin,
                rounded ? rounded_weights + begin : nullptr},
               size, sum, nullptr);
  });
}

}  // namespace
}  // namespace recite::kernels

int main(int argc, char** argv) {
  using namespace recite::kernels;
  const Bench bench(argc, argv);
  for (const int64_t size : {151'000'000, 10'000'000, 1'000'000}) bench_squared_norm(bench, size);
  bench_adamw(bench, 151'000'000, false);
  bench_adamw(bench, 151'000'000, true);
  bench_adamw(bench, 10'000'000, false);
  bench_adamw(bench, 1'000'000, false);
}
