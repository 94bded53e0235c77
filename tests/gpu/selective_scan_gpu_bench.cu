// The selective scan's time on a GPU, with the layout of a Mamba block: u and z are halves of one projection, B and C
// parts of another.
#include "kernels/selective_scan/selective_scan_cuda.h"
#include "tests/gpu/bench.h"

namespace recite::kernels {
namespace {

nlohmann::ordered_json shape_of(const ScanShape& shape) {
  return {{"B", shape.batch}, {"T", shape.time}, {"D", shape.channels}, {"N", shape.state}};
}

// Each shape is more than the cache holds.
template <class Element>
void bench_scan(const Bench& bench, const ScanShape& shape) {
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
  const auto size = static_cast<int64_t>(sizeof(Element));
  BenchRow row{"selective scan", shape_of(shape), dtype_of<Element>(), "forward",
               static_cast<double>((4 * D + 2 * N) * rows * size + states_bytes)};
  bench.time(
      row, [&](int) { selective_scan_forward_cuda<Element>(shape, in, {y, D}, states, nullptr, workspace, nullptr); });
  row.direction = "backward";
  row.bytes = static_cast<double>((7 * D + 4 * N) * rows * size + states_bytes);
  bench.time(row, [&](int) {
    selective_scan_backward_cuda<Element>(shape, in, states, {dy, D}, gradients, workspace, nullptr);
  });
}

// A step of decoding.
void bench_step(const Bench& bench, const ScanShape& shape) {
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
  const double bytes = static_cast<double>(2 * B * D * N * 4 + 4 * B * D * 2);
  const int64_t turns = turns_of(bytes);
  float* state = memory.random<float>(turns * B * D * N, -1, 1);
  bench.time({"selective scan", shape_of(shape), dtype_of<Element>(), "step", bytes}, [&](int i) {
    selective_scan_step_cuda<Element>(shape, in, {y, D}, state + i % turns * B * D * N, nullptr);
  });
}

}  // namespace
}  // namespace recite::kernels

int main(int argc, char** argv) {
  using namespace recite::kernels;
  const Bench bench(argc, argv);
  const ScanShape shapes[] = {{64, 220, 2048, 32}, {8, 2048, 2048, 32}, {1, 8192, 5120, 16}};
  for (const ScanShape& shape : shapes) bench_scan<__nv_bfloat16>(bench, shape);
  bench_scan<float>(bench, shapes[0]);
  bench_step(bench, {128, 1, 2048, 32});
}
