// Times of attention on the GPU, and of a copy in the same run: the median of runs, over several sets of arrays when
// they are small enough to stay in the cache.
//
//   attention_gpu_bench [part of a name]
#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <random>
#include <string>

#include "kernels/attention/attention_cuda.h"
#include "tests/gpu/device_array.h"

namespace recite::kernels {
namespace {

constexpr int repeats = 40;
constexpr double cache_bytes = 200e6;  // several times that of any GPU so far
double copy_bytes_per_microsecond;

// The median of microseconds that run(0), run(1), ... take.
double median_time(const std::function<void(int)>& run) {
  cudaEvent_t start, stop;
  require_cuda(cudaEventCreate(&start));
  require_cuda(cudaEventCreate(&stop));
  std::vector<float> times;
  for (int i = -5; i < repeats; ++i) {
    require_cuda(cudaEventRecord(start));
    run(i + 5);
    require_cuda(cudaEventRecord(stop));
    require_cuda(cudaEventSynchronize(stop));
    float milliseconds;
    require_cuda(cudaEventElapsedTime(&milliseconds, start, stop));
    if (i >= 0) times.push_back(1000 * milliseconds);
  }
  cudaEventDestroy(start);
  cudaEventDestroy(stop);
  std::nth_element(times.begin(), times.begin() + repeats / 2, times.end());
  return times[repeats / 2];
}

std::vector<float> random_numbers(size_t size) {
  static std::mt19937 random(1);
  std::vector<float> numbers(size);
  for (float& x : numbers) x = static_cast<float>(random()) * 0x1p-31f - 1;
  return numbers;
}

enum class Kind { plain, rotary, alibi, windows };

struct Positions {
  Positions(const AttentionShape& shape, Kind kind)
      : angles(random_numbers(shape.time * shape.head)), slope(std::vector<float>(shape.heads, 0.1f)), window([&] {
          std::vector<int64_t> windows(shape.heads, INT64_MAX);
          for (int64_t h = 0; h < shape.heads / 2; ++h) windows[h] = h + 1;
          return windows;
        }()) {
    if (kind == Kind::rotary) position = {shape.head / 4, angles.data(), angles.data()};
    if (kind == Kind::alibi) position.slope = slope.data();
    if (kind == Kind::windows) position.window = window.data();
  }
  DeviceArray<float> angles, slope;
  DeviceArray<int64_t> window;
  AttentionPosition<float> position;
};

template <class Element>
struct Arrays {
  Arrays(const AttentionShape& s, size_t of_out)
      : qkv(random_numbers(3 * of_out)),
        dout(random_numbers(of_out)),
        out(of_out),
        dqkv(3 * of_out),
        log_sum(s.batch * s.heads * s.time),
        delta(log_sum.size()) {}
  DeviceArray<Element> qkv, dout, out, dqkv;
  DeviceArray<float> log_sum, delta;
};

void report(const std::string& name, double microseconds, double bytes) {
  std::printf("%-64s %9.1f us  %7.1f MB  %5.1f %% of a copy\n", name.c_str(), microseconds, bytes * 1e-6,
              100 * bytes / microseconds / copy_bytes_per_microsecond);
  std::fflush(stdout);
}

template <class Element>
void bench(const std::string& wanted, const char* element, const AttentionShape& shape, Kind kind) {
  constexpr const char* kinds[] = {"no position", "RoPE", "ALiBi", "Hard-ALiBi"};
  const std::string name = std::string(element) + " B " + std::to_string(shape.batch) + ", H " +
                           std::to_string(shape.heads) + ", T " + std::to_string(shape.time) + ", d " +
                           std::to_string(shape.head) + ", " + kinds[static_cast<int>(kind)];
  if (name.find(wanted) == std::string::npos) return;
  const Positions positions(shape, kind);
  const size_t of_out = shape.batch * shape.time * shape.heads * shape.head;
  const double bytes = static_cast<double>(of_out * sizeof(Element));
  std::vector<std::unique_ptr<Arrays<Element>>> sets;
  do sets.push_back(std::make_unique<Arrays<Element>>(shape, of_out));
  while (4 * bytes * static_cast<double>(sets.size()) < cache_bytes);
  const auto set = [&](int i) -> Arrays<Element>& { return *sets[i % sets.size()]; };
  const auto forward = [&](int i) {
    attention_forward_cuda(shape, positions.position, set(i).qkv.data(), set(i).out.data(), set(i).log_sum.data(),
                           nullptr);
  };
  report(name + ", forward", median_time(forward), 4 * bytes);
  const auto backward = [&](int i) {
    attention_backward_cuda(shape, positions.position, set(i).qkv.data(), set(i).out.data(), set(i).log_sum.data(),
                            set(i).dout.data(), set(i).dqkv.data(), set(i).delta.data(), nullptr);
  };
  report(name + ", backward", median_time(backward), 8 * bytes);
}

// A step of decoding, all rows at the same length.
void bench_decode(const std::string& wanted, const AttentionDecodeShape& shape) {
  const auto [batch, heads, head, tokens] = shape;
  const std::string name = "bf16 decode B " + std::to_string(batch) + ", H " + std::to_string(heads) + ", d " +
                           std::to_string(head) + ", " + std::to_string(tokens) + " keys, RoPE";
  if (name.find(wanted) == std::string::npos) return;
  const size_t size = batch * heads * tokens * head;
  const Positions positions({batch, tokens, heads, head}, Kind::rotary);
  const DeviceArray<int32_t> length(std::vector<int32_t>(batch, static_cast<int32_t>(tokens - 1)));
  const DeviceArray<__nv_bfloat16> qkv(random_numbers(3 * batch * heads * head)), out(batch * heads * head);
  const DeviceArray<float> workspace(attention_decode_workspace(shape));
  const double bytes = 4.0 * static_cast<double>(size);
  std::vector<std::unique_ptr<DeviceArray<__nv_bfloat16>>> caches;
  do caches.push_back(std::make_unique<DeviceArray<__nv_bfloat16>>(random_numbers(2 * size)));
  while (bytes * static_cast<double>(caches.size()) < cache_bytes && caches.size() < 8);
  const auto step = [&](int i) {
    __nv_bfloat16* const cache = caches[i % caches.size()]->data();
    attention_decode_cuda(shape, positions.position, qkv.data(), length.data(), cache, cache + size, out.data(),
                          workspace.data(), nullptr);
  };
  report(name, median_time(step), bytes);
}

void run(const std::string& wanted) {
  const size_t size = 1 << 30;
  const DeviceArray<char> from(size), to(size);
  copy_bytes_per_microsecond = 2.0 * size / median_time([&](int) {
                                 require_cuda(cudaMemcpyAsync(to.data(), from.data(), size, cudaMemcpyDeviceToDevice));
                               });
  std::printf("a copy of 1 GiB: %.2f TB/s, read and written\n", copy_bytes_per_microsecond * 1e-6);
  for (const AttentionShape& shape : {AttentionShape{64, 220, 16, 64}, AttentionShape{8, 1024, 16, 64}})
    for (const Kind kind : {Kind::plain, Kind::rotary, Kind::alibi, Kind::windows})
      bench<__nv_bfloat16>(wanted, "bf16", shape, kind);
  bench<__half>(wanted, "fp16", {64, 220, 16, 64}, Kind::plain);
  for (const AttentionShape& shape : {AttentionShape{32, 128, 4, 32}, AttentionShape{64, 220, 12, 80},
                                      AttentionShape{64, 220, 8, 128}, AttentionShape{1, 16384, 16, 64}})
    bench<__nv_bfloat16>(wanted, "bf16", shape, Kind::rotary);
  for (const AttentionShape& shape : {AttentionShape{32, 128, 4, 32}, AttentionShape{64, 220, 16, 64}})
    bench<float>(wanted, "float32", shape, Kind::rotary);
  for (const AttentionDecodeShape& shape :
       {AttentionDecodeShape{64, 16, 64, 220}, AttentionDecodeShape{64, 16, 64, 1024},
        AttentionDecodeShape{1, 16, 64, 1024}, AttentionDecodeShape{1, 16, 64, 16384}})
    bench_decode(wanted, shape);
}

}  // namespace
}  // namespace recite::kernels

int main(int argc, char** argv) { recite::kernels::run(argc > 1 ? argv[1] : ""); }
