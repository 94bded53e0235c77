// GELU's time on a GPU.
#include <cstdio>

#include "kernels/gelu/gelu_cuda.h"
#include "tests/gpu/queued_bench.h"

namespace recite::kernels {
namespace {

template <class Element>
void bench(const char* type, const GeluShape& shape, double copied) {
  BenchMemory memory;
  constexpr int64_t turns = 2;  // more than the cache holds
  const int64_t size = shape.rows * shape.columns;
  const Element *u = memory.random<Element>(turns * size, -4, 4), *dy = memory.random<Element>(turns * size, -1, 1);
  const float* bias = memory.random<float>(shape.columns, -1, 1);
  Element* to = memory.unset<Element>(turns * size);
  float* dbias = memory.unset<float>(shape.columns);
  void* workspace = memory.unset<char>(bias_gelu_backward_workspace_bytes(shape));
  const double forward = queued_microseconds([&](int i) {
    const int64_t begin = i % turns * size;
    bias_gelu_forward_cuda<Element>(shape, u + begin, bias, to + begin, nullptr);
  });
  const double backward = queued_microseconds([&](int i) {
    const int64_t begin = i % turns * size;
    bias_gelu_backward_cuda<Element>(shape, u + begin, bias, dy + begin, to + begin, dbias, workspace, nullptr);
  });
  const auto bytes = static_cast<double>(size * static_cast<int64_t>(sizeof(Element)));
  std::printf("GELU %s R%ld C%ld: %.1f / %.1f us, %.0f / %.0f MB, %.2f / %.2f of a copy\n", type, shape.rows,
              shape.columns, forward, backward, 2 * bytes / 1e6, 3 * bytes / 1e6, 2 * bytes / forward / copied,
              3 * bytes / backward / copied);
}

}  // namespace
}  // namespace recite::kernels

int main() {
  using namespace recite::kernels;
  const double copied = copied_bytes_per_microsecond();
  std::printf("copy: %.0f GB/s\n", copied / 1e3);
  bench<__nv_bfloat16>("bf16", {14080, 4096}, copied);
  bench<float>("float", {14080, 4096}, copied);
  bench<__nv_bfloat16>("bf16", {4096, 512}, copied);
  bench<__nv_bfloat16>("bf16", {131072, 512}, copied);
  bench<__nv_bfloat16>("bf16", {14080, 4095}, copied);
}
