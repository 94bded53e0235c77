// The selective scan's time on a GPU, with the layout of a Mamba block: u and z are halves of one projection, B and C
// parts of another.
#include <cstdio>

#include "kernels/selective_scan/selective_scan_cuda.h"
#include "tests/gpu/bench.h"

namespace recite::kernels {
namespace {

template <class Element>
void bench(const char* type, const ScanShape& shape, double copied) {
  BenchMemory memory;
  const int64_t rows = shape.batch * shape.time, D = shape.channels, N = shape.state, rank = 128, parts = rank + 2 * N;
  Element *uz = memory.random<Element>(rows * 2 * D, -2, 2), *delta = memory.random<Element>(rows * D, -2, 0);
  Element *BC = memory.random<Element>(rows * parts, -1, 1), *dy = memory.random<Element>(rows * D, -1, 1);
  const ScanCudaInputs<Element> in{{uz, 2 * D},
                                   {delta, D},
                                   memory.random<float>(D * N, -32, -0.5),
                                   {BC + rank, parts},
                                   {BC + rank + N, parts},
                                   memory.random<float>(D, -1, 1),
                                   {uz + D, 2 * D},
                                   memory.random<float>(D, -3, 0),
                                   nullptr,
                                   true};
  Element *y = memory.unset<Element>(rows * D), *duz = memory.unset<Element>(rows * 2 * D);
  const ScanCudaGradients<Element> gradients{{duz, 2 * D},
                                             {memory.unset<Element>(rows * D), D},
                                             memory.unset<float>(D * N),
                                             {memory.unset<Element>(rows * N), N},
                                             {memory.unset<Element>(rows * N), N},
                                             memory.unset<float>(D),
                                             {duz + D, 2 * D},
                                             memory.unset<float>(D)};
  const int64_t states_bytes = selective_scan_states_bytes(shape);
  float* states = memory.unset<float>(states_bytes / 4);
  void* workspace = memory.unset<char>(
      std::max(selective_scan_forward_workspace_bytes(shape), selective_scan_backward_workspace_bytes(shape)) + 16);
  const double forward = microseconds(
      [&](int) { selective_scan_forward_cuda<Element>(shape, in, {y, D}, states, nullptr, workspace, nullptr); });
  const double backward = microseconds(
      [&](int) { selective_scan_backward_cuda<Element>(shape, in, states, {dy, D}, gradients, workspace, nullptr); });
  const auto size = static_cast<int64_t>(sizeof(Element));
  const double forward_bytes = static_cast<double>((4 * D + 2 * N) * rows * size + states_bytes);
  const double backward_bytes = static_cast<double>((7 * D + 4 * N) * rows * size + states_bytes);
  std::printf("scan %s B%ld T%ld D%ld N%ld: %.0f / %.0f us, %.0f / %.0f MB, %.2f / %.2f of a copy\n", type, shape.batch,
              shape.time, D, N, forward, backward, forward_bytes / 1e6, backward_bytes / 1e6,
              forward_bytes / forward / copied, backward_bytes / backward / copied);
}

void bench_step(const ScanShape& shape, double copied) {
  using Element = __nv_bfloat16;
  BenchMemory memory;
  const int64_t B = shape.batch, D = shape.channels, N = shape.state;
  Element *uz = memory.random<Element>(B * 2 * D, -2, 2), *delta = memory.random<Element>(B * D, -2, 0);
  Element *BC = memory.random<Element>(B * 2 * N, -1, 1), *y = memory.unset<Element>(B * D);
  const ScanCudaInputs<Element> in{{uz, 2 * D},
                                   {delta, D},
                                   memory.random<float>(D * N, -32, -0.5),
                                   {BC, 2 * N},
                                   {BC + N, 2 * N},
                                   memory.random<float>(D, -1, 1),
                                   {uz + D, 2 * D},
                                   memory.random<float>(D, -3, 0),
                                   nullptr,
                                   true};
  constexpr int turns = 8;  // more states than the cache holds
  float* state = memory.random<float>(turns * B * D * N, -1, 1);
  const double time = microseconds(
      [&](int i) { selective_scan_step_cuda<Element>(shape, in, {y, D}, state + i % turns * B * D * N, nullptr); });
  const double bytes = static_cast<double>(2 * B * D * N * 4 + 4 * B * D * 2);
  std::printf("scan step bf16 B%ld D%ld N%ld: %.1f us, %.1f MB, %.2f of a copy\n", B, D, N, time, bytes / 1e6,
              bytes / time / copied);
}

}  // namespace
}  // namespace recite::kernels

int main() {
  using namespace recite::kernels;
  const double copied = copied_bytes_per_microsecond();
  std::printf("copy: %.0f GB/s\n", copied / 1e3);
  const ScanShape shapes[] = {{64, 220, 2048, 32}, {8, 2048, 2048, 32}, {1, 8192, 5120, 16}};
  for (const ScanShape& shape : shapes) bench<__nv_bfloat16>("bf16", shape, copied);
  bench<float>("float", shapes[0], copied);
  bench_step({128, 1, 2048, 32}, copied);
}
