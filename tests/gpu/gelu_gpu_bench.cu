// GELU's time on a GPU.
#include "kernels/gelu/gelu_cuda.h"
#include "tests/gpu/bench.h"

namespace recite::kernels {
namespace {

template <class Element>
void bench_gelu(const Bench& bench, const GeluShape& shape) {
  BenchMemory memory;
  const int64_t size = shape.rows * shape.columns;
  const auto bytes = static_cast<double>(size * static_cast<int64_t>(sizeof(Element)));
  const int64_t turns = turns_of(2 * bytes);
  const Element *u = memory.random<Element>(turns * size, -4, 4), *dy = memory.random<Element>(turns * size, -1, 1);
  const float* bias = memory.random<float>(shape.columns, -1, 1);
  Element* to = memory.unset<Element>(turns * size);
  float* dbias = memory.unset<float>(shape.columns);
  void* workspace = memory.unset<char>(bias_gelu_backward_workspace_bytes(shape));
  BenchRow row{"GELU", {{"R", shape.rows}, {"C", shape.columns}}, dtype_of<Element>(), "forward", 2 * bytes};
  bench.time(row, [&](int i) {
    const int64_t begin = i % turns * size;
    bias_gelu_forward_cuda<Element>(shape, u + begin, bias, to + begin, nullptr);
  });
  row.direction = "backward";
  row.bytes = 3 * bytes;
  bench.time(row, [&](int i) {
    const int64_t begin = i % turns * size;
    bias_gelu_backward_cuda<Element>(shape, u + begin, bias, dy + begin, to + begin, dbias, workspace, nullptr);
  });
}

}  // namespace
}  // namespace recite::kernels

int main(int argc, char** argv) {
  using namespace recite::kernels;
  const Bench bench(argc, argv);
  bench_gelu<__nv_bfloat16>(bench, {14080, 4096});
  bench_gelu<float>(bench, {14080, 4096});
  bench_gelu<__nv_bfloat16>(bench, {4096, 512});
  bench_gelu<__nv_bfloat16>(bench, {131072, 512});
  bench_gelu<__nv_bfloat16>(bench, {14080, 4095});
}
