// Chooses the kernel for an element type and a head size, and refuses what none can do.
#include "kernels/attention/attention_cuda.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "kernels/attention/attention_hopper.h"
#include "kernels/attention/attention_launch.h"
#include "kernels/attention/attention_plain.h"
#include "kernels/attention/attention_tensor.h"

namespace recite::kernels {

namespace {

constexpr int64_t longest_time = 16384;
constexpr int64_t bytes_of_neighbors = 64 << 20;  // of qkv: keys and values stay in the second-level cache

template <class Element>
AttentionProblem problem_of(const AttentionShape& shape, const AttentionPosition<float>& position,
                            unsigned* items_taken) {
  require_supported(shape.batch, shape.heads, shape.head, position);
  require(shape.time > 0 && shape.time <= longest_time,
          "time " + std::to_string(shape.time) + " is not in 1 .. " + std::to_string(longest_time));
  require(shape.batch * shape.heads * shape.time < INT32_MAX, "batch x heads x time must be below 2^31");
  const int64_t bytes = 3 * shape.time * shape.head * static_cast<int64_t>(sizeof(Element));
  return {.batch = static_cast<int>(shape.batch),
          .time = static_cast<int>(shape.time),
          .heads = static_cast<int>(shape.heads),
          .head = static_cast<int>(shape.head),
          .rotary = static_cast<int>(position.rotary),
          .twice_from = static_cast<int>(std::min(position.twice_from, shape.head)),
          .cos = position.cos,
          .sin = position.sin,
          .slope = position.slope,
          .window = position.window,
          .scale = static_cast<float>(1 / std::sqrt(static_cast<double>(shape.head))),
          .neighbors = static_cast<int>(std::max<int64_t>(1, bytes_of_neighbors / bytes)),
          .items_taken = items_taken};
}

// Calls run(std::integral_constant<int, d>()) with the head size, if it has tensor-core kernels; else run(0).
template <class Element, class Run>
void with_tensor_head(int64_t head, Run run) {
  if constexpr (!std::is_same_v<Element, float>) {
    switch (head) {
      case 32:
        return run(std::integral_constant<int, 32>());
      case 64:
        return run(std::integral_constant<int, 64>());
      case 80:
        return run(std::integral_constant<int, 80>());
      case 128:
        return run(std::integral_constant<int, 128>());
    }
  }
  run(std::integral_constant<int, 0>());
}

[[maybe_unused]] bool on_hopper() { return device_attribute("attention", cudaDevAttrComputeCapabilityMajor) == 9; }

}  // namespace

template <class Element>
void attention_forward_cuda(const AttentionShape& shape, const AttentionPosition<float>& position, const Element* qkv,
                            Element* out, float* log_sum, unsigned* items_taken, cudaStream_t stream) {
  const AttentionProblem problem = problem_of<Element>(shape, position, items_taken);
  require_aligned(qkv, out, position.cos, position.sin);
  with_tensor_head<Element>(shape.head, [&](auto head) {
    constexpr int D = decltype(head)::value;
#if RECITE_HOPPER
    if constexpr (has_hopper_kernels<D>)
      if (on_hopper()) return launch_hopper_forward<Element, D>(problem, qkv, out, log_sum, stream);
#endif
    if constexpr (D > 0)
      launch_attention_forward<Element, D>(problem, qkv, out, log_sum, stream);
    else
      launch_plain_attention_forward(problem, qkv, out, log_sum, stream);
  });
}

int64_t attention_gradient_sums_workspace(const AttentionShape& shape) {
  return shape.batch * gradient_shares(static_cast<int>(shape.time)) * shape.heads * 3 * shape.head;
}

template <class Element>
bool gives_attention_gradient_sums(const AttentionShape& shape) {
  bool gives = false;
#if RECITE_HOPPER
  with_tensor_head<Element>(shape.head, [&](auto head) { gives = has_hopper_kernels<decltype(head)::value>; });
  gives = gives && on_hopper();
#endif
  return gives;
}

template <class Element>
void attention_backward_cuda(const AttentionShape& shape, const AttentionPosition<float>& position, const Element* qkv,
                             const Element* out, const float* log_sum, const Element* dout, Element* dqkv, float* delta,
                             const AttentionGradientSums& sums, unsigned* items_taken, cudaStream_t stream) {
  const AttentionProblem problem = problem_of<Element>(shape, position, items_taken);
  require_aligned(qkv, out, dout, dqkv, position.cos, position.sin);
  require(!sums.to || gives_attention_gradient_sums<Element>(shape), "no kernel for this shape sums its gradients");
  with_tensor_head<Element>(shape.head, [&](auto head) {
    constexpr int D = decltype(head)::value;
#if RECITE_HOPPER
    if constexpr (has_hopper_kernels<D>)
      if (on_hopper())
        return launch_hopper_backward<Element, D>(problem, qkv, out, log_sum, dout, dqkv, delta, sums, stream);
#endif
    if constexpr (D > 0)
      launch_attention_backward<Element, D>(problem, qkv, out, log_sum, dout, dqkv, delta, stream);
    else
      launch_plain_attention_backward(problem, qkv, out, log_sum, dout, dqkv, delta, stream);
  });
}

#define RECITE_INSTANTIATE(Element)                                                                             \
  template void attention_forward_cuda(const AttentionShape&, const AttentionPosition<float>&, const Element*,  \
                                       Element*, float*, unsigned*, cudaStream_t);                              \
  template void attention_backward_cuda(const AttentionShape&, const AttentionPosition<float>&, const Element*, \
                                        const Element*, const float*, const Element*, Element*, float*,         \
                                        const AttentionGradientSums&, unsigned*, cudaStream_t);                 \
  template bool gives_attention_gradient_sums<Element>(const AttentionShape&);
RECITE_INSTANTIATE(__nv_bfloat16)
RECITE_INSTANTIATE(__half)
RECITE_INSTANTIATE(float)
#undef RECITE_INSTANTIATE

}  // namespace recite::kernels
