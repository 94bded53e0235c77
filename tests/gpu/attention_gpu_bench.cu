// Times of attention on the GPU.
#include "kernels/attention/attention_cuda.h"
#include "tests/gpu/bench.h"

namespace recite::kernels {
namespace {

enum class Kind { plain, rotary, alibi, windows };
constexpr const char* kind_names[] = {"none", "RoPE", "ALiBi", "Hard-ALiBi"};

AttentionPosition<float> position_of(BenchMemory& memory, const AttentionShape& shape, Kind kind) {
  AttentionPosition<float> position;
  if (kind == Kind::rotary) {
    position.rotary = shape.head / 4;
    position.cos = position.sin = memory.random<float>(shape.time * shape.head, -1, 1);
  }
  if (kind == Kind::alibi) position.slope = memory.copied(std::vector<float>(shape.heads, 0.1f));
  if (kind == Kind::windows) {
    std::vector<int64_t> windows(shape.heads, INT64_MAX);
    for (int64_t h = 0; h < shape.heads / 2; ++h) windows[h] = h;
    position.window = memory.copied(windows);
  }
  return position;
}

// (query, key) pairs with a score.
double pairs_of(const AttentionShape& shape, Kind kind) {
  int64_t pairs = 0;
  for (int64_t h = 0; h < shape.heads; ++h)
    for (int64_t i = 0; i < shape.time; ++i)
      pairs += 1 + (kind == Kind::windows && h < shape.heads / 2 ? std::min(i, h) : i);
  return static_cast<double>(shape.batch * pairs);
}

nlohmann::ordered_json shape_of(const AttentionShape& shape, Kind kind) {
  return {{"B", shape.batch},
          {"H", shape.heads},
          {"T", shape.time},
          {"d", shape.head},
          {"position", kind_names[static_cast<int>(kind)]}};
}

template <class Element>
void bench_attention(const Bench& bench, const AttentionShape& shape, Kind kind) {
  BenchMemory memory;
  const AttentionPosition<float> position = position_of(memory, shape, kind);
  const int64_t size = shape.batch * shape.time * shape.heads * shape.head;
  const int64_t sums = shape.batch * shape.heads * shape.time;
  const auto bytes = static_cast<double>(size * static_cast<int64_t>(sizeof(Element)));
  const double flops = 4 * pairs_of(shape, kind) * static_cast<double>(shape.head);  // two products
  const int64_t turns = turns_of(4 * bytes);
  Element *qkv = memory.random<Element>(turns * 3 * size, -1, 1), *dout = memory.random<Element>(turns * size, -1, 1);
  Element *out = memory.unset<Element>(turns * size), *dqkv = memory.unset<Element>(turns * 3 * size);
  float *log_sum = memory.unset<float>(turns * sums), *delta = memory.unset<float>(sums);
  unsigned* const items_taken = memory.copied(std::vector<unsigned>{0});
  const auto forward = [&](int i) {
    const int64_t turn = i % turns;
    attention_forward_cuda(shape, position, qkv + turn * 3 * size, out + turn * size, log_sum + turn * sums,
                           items_taken, nullptr);
  };
  for (int i = 0; i < turns; ++i) forward(i);  // for the backward, if the forward is not wanted
  BenchRow row{"attention", shape_of(shape, kind), dtype_of<Element>(), "forward", 4 * bytes, flops};
  bench.time(row, forward);
  row.direction = "backward";
  row.bytes = 8 * bytes;
  row.flops = 2.5 * flops;
  bench.time(row, [&](int i) {
    const int64_t turn = i % turns;
    attention_backward_cuda(shape, position, qkv + turn * 3 * size, out + turn * size, log_sum + turn * sums,
                            dout + turn * size, dqkv + turn * 3 * size, delta, {}, items_taken, nullptr);
  });
}

// A step of decoding, all rows at the same length.
void bench_decode(const Bench& bench, const AttentionDecodeShape& shape) {
  using Element = __nv_bfloat16;
  BenchMemory memory;
  const auto [batch, heads, head, tokens] = shape;
  const AttentionShape whole{batch, tokens, heads, head};
  const AttentionPosition<float> position = position_of(memory, whole, Kind::rotary);
  const int64_t size = batch * heads * tokens * head;
  const int32_t* length = memory.copied(std::vector<int32_t>(batch, static_cast<int32_t>(tokens - 1)));
  const Element* qkv = memory.random<Element>(3 * batch * heads * head, -1, 1);
  Element* out = memory.unset<Element>(batch * heads * head);
  float* workspace = memory.unset<float>(attention_decode_workspace(shape));
  const double bytes = 4.0 * static_cast<double>(size);
  const int64_t turns = turns_of(bytes);
  Element* caches = memory.random<Element>(turns * 2 * size, -1, 1);
  bench.time({"attention", shape_of(whole, Kind::rotary), dtype_of<Element>(), "step", bytes}, [&](int i) {
    Element* const cache = caches + i % turns * 2 * size;
    attention_decode_cuda(shape, position, qkv, length, cache, cache + size, out, workspace, nullptr);
  });
}

}  // namespace
}  // namespace recite::kernels

int main(int argc, char** argv) {
  using namespace recite::kernels;
  const Bench bench(argc, argv);
  for (const AttentionShape& shape : {AttentionShape{64, 220, 16, 64}, AttentionShape{8, 1024, 16, 64}})
    for (const Kind kind : {Kind::plain, Kind::rotary, Kind::alibi, Kind::windows})
      bench_attention<__nv_bfloat16>(bench, shape, kind);
  bench_attention<__half>(bench, {64, 220, 16, 64}, Kind::plain);
  for (const AttentionShape& shape : {AttentionShape{32, 128, 4, 32}, AttentionShape{64, 220, 12, 80},
                                      AttentionShape{64, 220, 8, 128}, AttentionShape{1, 16384, 16, 64}})
    bench_attention<__nv_bfloat16>(bench, shape, Kind::rotary);
  for (const AttentionShape& shape : {AttentionShape{32, 128, 4, 32}, AttentionShape{64, 220, 16, 64}})
    bench_attention<float>(bench, shape, Kind::rotary);
  for (const AttentionDecodeShape& shape :
       {AttentionDecodeShape{64, 16, 64, 220}, AttentionDecodeShape{64, 16, 64, 1024},
        AttentionDecodeShape{1, 16, 64, 1024}, AttentionDecodeShape{1, 16, 64, 16384}})
    bench_decode(bench, shape);
}
