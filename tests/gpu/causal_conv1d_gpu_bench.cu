// The causal convolution's time on a GPU, with the layout of a Mamba block: x is half of a projection.
#include <cstdio>

#include "kernels/causal_conv1d/causal_conv1d_cuda.h"
#include "tests/gpu/bench.h"

namespace recite::kernels {
namespace {

template <class Element>
void bench(const char* type, const ConvShape& shape, double copied) {
  BenchMemory memory;
  const int64_t rows = shape.batch * shape.time, D = shape.channels;
  const float *weight = memory.random<float>(D * shape.width, -1, 1), *bias = memory.random<float>(D, -1, 1);
  constexpr int turns = 3;  // more than the cache holds
  Element *x = memory.random<Element>(turns * rows * 2 * D, -2, 2),
          *dy = memory.random<Element>(turns * rows * D, -1, 1);
  Element *y = memory.unset<Element>(turns * rows * D), *dx = memory.unset<Element>(turns * rows * 2 * D);
  float *dweight = memory.unset<float>(D * shape.width), *dbias = memory.unset<float>(D);
  void* workspace = memory.unset<char>(causal_conv1d_backward_workspace_bytes(shape));
  const double forward = microseconds([&](int i) {
    const int64_t turn = i % turns * rows * D;
    causal_conv1d_forward_cuda<Element>(shape, {x + 2 * turn, 2 * D}, weight, bias, nullptr, {y + turn, D}, nullptr);
  });
  const double backward = microseconds([&](int i) {
    const int64_t turn = i % turns * rows * D;
    causal_conv1d_backward_cuda<Element>(shape, {x + 2 * turn, 2 * D}, weight, bias, {dy + turn, D},
                                         {dx + 2 * turn, 2 * D}, dweight, dbias, workspace, nullptr);
  });
  const auto bytes = static_cast<double>(rows * D * static_cast<int64_t>(sizeof(Element)));
  std::printf("conv %s B%ld T%ld D%ld W%ld: %.1f / %.1f us, %.0f / %.0f MB, %.2f / %.2f of a copy\n", type, shape.batch,
              shape.time, D, shape.width, forward, backward, 2 * bytes / 1e6, 3 * bytes / 1e6,
              2 * bytes / forward / copied, 3 * bytes / backward / copied);
}

}  // namespace
}  // namespace recite::kernels

int main() {
  using namespace recite::kernels;
  const double copied = copied_bytes_per_microsecond();
  std::printf("copy: %.0f GB/s\n", copied / 1e3);
  bench<__nv_bfloat16>("bf16", {64, 220, 2048, 4}, copied);
  bench<__nv_bfloat16>("bf16", {8, 2048, 2048, 4}, copied);
  bench<__nv_bfloat16>("bf16", {1, 8192, 5120, 4}, copied);
  bench<float>("float", {64, 220, 2048, 4}, copied);
}
