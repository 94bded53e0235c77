// Times of the CPU kernels at the shapes of kernels/README.md: the least of several repeats, on as many threads as
// OMP_NUM_THREADS says, with the instruction set that RECITE_ISA says.
//
//   kernels_bench [part of a name]
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/selective_scan/selective_scan.h"
#include "kernels/simd/isa.h"

namespace recite::kernels {
namespace {

std::string wanted;

void time(const std::string& name, double elements, const char* unit, const std::function<void()>& run) {
  if (name.find(wanted) == std::string::npos) return;
  using Clock = std::chrono::steady_clock;
  double least = 1e9;
  const auto end = Clock::now() + std::chrono::milliseconds(1500);
  for (int repeat = 0; repeat < 5 || Clock::now() < end; ++repeat) {
    const auto start = Clock::now();
    run();
    least = std::min(least, std::chrono::duration<double>(Clock::now() - start).count());
  }
  std::printf("%-58s %9.3f ms  %7.3f ns / %s\n", name.c_str(), least * 1e3, least * 1e9 / elements, unit);
  std::fflush(stdout);
}

std::vector<float> random_floats(int64_t size, float low, float high) {
  static std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(low, high);
  std::vector<float> array(size);
  for (float& value : array) value = uniform(random);
  return array;
}

void bench_scan(const ScanShape& shape) {
  const auto [B, T, D, N] = shape;
  const int64_t btd = B * T * D, btn = B * T * N;
  const auto u = random_floats(btd, -1, 1), delta = random_floats(btd, -3, 3), A = random_floats(D * N, -4, -0.1f),
             inB = random_floats(btn, -1, 1), C = random_floats(btn, -1, 1), skip = random_floats(D, -1, 1),
             z = random_floats(btd, -1, 1), bias = random_floats(D, -5, -2), dy = random_floats(btd, -1, 1);
  const ScanInputs<float> in{u.data(),    delta.data(), A.data(),    inB.data(), C.data(),
                             skip.data(), z.data(),     bias.data(), nullptr};
  std::vector<float> y(btd), states(B * scan_checkpoints(T) * D * N), state(B * D * N), du(btd), ddelta(btd), dA(D * N),
      dB(btn), dC(btn), dD(D), dz(btd), dbias(D);
  const std::string name =
      " B" + std::to_string(B) + " T" + std::to_string(T) + " D" + std::to_string(D) + " N" + std::to_string(N);
  const double elements = static_cast<double>(btd) * N;
  if (T == 1)
    return time("scan step" + name, elements, "BDN",
                [&] { selective_scan_step_cpu(shape, in, y.data(), state.data()); });
  time("scan forward" + name, elements, "BTDN",
       [&] { selective_scan_forward_cpu<float>(shape, in, y.data(), states.data(), nullptr); });
  time("scan backward" + name, elements, "BTDN", [&] {
    selective_scan_backward_cpu(
        shape, in, states.data(), dy.data(),
        {du.data(), ddelta.data(), dA.data(), dB.data(), dC.data(), dD.data(), dz.data(), dbias.data()});
  });
}

void bench_conv(const ConvShape& shape) {
  const auto [B, T, D, W] = shape;
  const int64_t btd = B * T * D;
  const auto x = random_floats(btd, -1, 1), weight = random_floats(D * W, -1, 1), bias = random_floats(D, -1, 1),
             dy = random_floats(btd, -1, 1);
  std::vector<float> y(btd), dx(btd), dweight(D * W), dbias(D), window(B * W * D);
  const std::string name =
      " B" + std::to_string(B) + " T" + std::to_string(T) + " D" + std::to_string(D) + " W" + std::to_string(W);
  if (T == 1)
    return time("conv step" + name, static_cast<double>(btd), "BD",
                [&] { causal_conv1d_step_cpu(shape, x.data(), weight.data(), bias.data(), window.data(), y.data()); });
  time("conv forward" + name, static_cast<double>(btd), "BTD",
       [&] { causal_conv1d_forward_cpu<float>(shape, x.data(), weight.data(), bias.data(), nullptr, y.data()); });
  time("conv backward" + name, static_cast<double>(btd), "BTD", [&] {
    causal_conv1d_backward_cpu(shape, x.data(), weight.data(), bias.data(), dy.data(), dx.data(), dweight.data(),
                               dbias.data());
  });
}

void bench_attention(const AttentionShape& shape, const std::string& kind) {
  const auto [B, T, H, d] = shape;
  const auto qkv = random_floats(B * T * H * 3 * d, -1, 1), dout = random_floats(B * T * H * d, -1, 1),
             angle = random_floats(T * d, -1, 1), slope = random_floats(H, 0, 1);
  std::vector<float> out(dout.size()), log_sum(B * T * H), dqkv(qkv.size());
  std::vector<int64_t> window(H, T);
  for (int64_t h = 0; h < H / 2; ++h) window[h] = h;
  AttentionPosition<float> position;
  if (kind == "rope") position = {d / 4, angle.data(), angle.data()};
  if (kind == "alibi") position.slope = slope.data();
  if (kind == "hard alibi") position.window = window.data();
  const std::string name = " " + kind + " B" + std::to_string(B) + " T" + std::to_string(T) + " H" + std::to_string(H) +
                           " d" + std::to_string(d);
  const double pairs = static_cast<double>(B * H * T) * static_cast<double>(T + 1) / 2;
  time("attention forward" + name, pairs, "pair",
       [&] { attention_forward_cpu(shape, position, qkv.data(), out.data(), log_sum.data()); });
  time("attention backward" + name, pairs, "pair", [&] {
    attention_backward_cpu(shape, position, qkv.data(), out.data(), log_sum.data(), dout.data(), dqkv.data());
  });
}

// A step of decoding, all rows at the last place of the cache; bytes of keys and values are what it costs.
template <class Element>
void bench_decode(const AttentionDecodeShape& shape, const char* element) {
  const auto [B, H, d, T] = shape;
  const auto angle = random_floats(T * d, -1, 1);
  const std::vector<Element> qkv(B * H * 3 * d);
  std::vector<Element> keys(B * H * T * d), values(keys.size()), out(B * H * d);
  const std::vector<int32_t> length(B, static_cast<int32_t>(T - 1));
  const std::string name = std::string("attention decode ") + element + " B" + std::to_string(B) + " T" +
                           std::to_string(T) + " H" + std::to_string(H) + " d" + std::to_string(d);
  time(name, 2.0 * static_cast<double>(keys.size() * sizeof(Element)), "byte", [&] {
    attention_decode_cpu<Element>(shape, {d / 4, angle.data(), angle.data()}, qkv.data(), length.data(), keys.data(),
                                  values.data(), out.data());
  });
}

}  // namespace
}  // namespace recite::kernels

int main(int argc, char** argv) {
  using namespace recite::kernels;
  if (argc > 1) wanted = argv[1];
  std::printf("%s, %d threads\n", name_of(current_isa()), omp_get_max_threads());
  for (const ScanShape& shape : {ScanShape{32, 128, 256, 16}, {64, 220, 2048, 32}, {128, 1, 256, 16}, {8, 1, 2048, 32}})
    bench_scan(shape);
  for (const ConvShape& shape : {ConvShape{32, 128, 256, 4}, {64, 220, 2048, 4}, {128, 1, 256, 4}}) bench_conv(shape);
  for (const AttentionShape& shape : {AttentionShape{32, 128, 4, 32}, {64, 220, 16, 64}})
    for (const char* kind : {"nope", "rope", "alibi", "hard alibi"}) bench_attention(shape, kind);
  for (const AttentionDecodeShape& shape :
       {AttentionDecodeShape{8, 16, 64, 1024}, {1, 16, 64, 1024}, {32, 4, 32, 128}}) {
    bench_decode<float>(shape, "float32");
    bench_decode<bf16>(shape, "bf16");
  }
}
