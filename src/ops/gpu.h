// The operations' GPU side: the kernels of kernels/*/*_cuda.h on tensors, on the current stream. Defined only where
// `built` is true. Elements are float32 or bf16, parameters and sums float32; a tensor "by rows" is (B, T, width), and
// may be a part of wider rows.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "kernels/residual_norm/residual_norm.h"
#include "ops/attention.h"
#include "ops/product.h"
#include "ops/selective_scan.h"

namespace recite::gpu {

#if RECITE_CUDA
constexpr bool built = true;
#else
constexpr bool built = false;
#endif

// Whether there are kernels for such elements; float64 has none on a GPU.
inline bool takes(const torch::Tensor& elements) {
  return built && elements.is_cuda() && elements.scalar_type() != torch::kFloat64;
}

// qkv and places contiguous; log_sum (B, H, T) float32, or undefined.
torch::Tensor attention_forward(const torch::Tensor& qkv, const AttentionPlaces& places, const torch::Tensor& log_sum);
struct AttentionGradients {
  torch::Tensor qkv;
  torch::Tensor bias;  // (3 * H * head), float32: what was added to each token's qkv; undefined if not wanted
};
AttentionGradients attention_backward(const torch::Tensor& qkv, const AttentionPlaces& places, const torch::Tensor& out,
                                      const torch::Tensor& log_sum, const torch::Tensor& dout, bool with_bias);
// qkv (B, H, 3, head), length (B) int32, places and the cache contiguous.
torch::Tensor attention_decode(const torch::Tensor& qkv, const AttentionPlaces& places, const torch::Tensor& length,
                               const AttentionCache& cache);

// u, delta, B, C, z by rows; the gradient of z is half_like() z (ops/halves.h). initial (B, D, N), states
// (new_scan_states) and final (B, D, N), each or undefined.
torch::Tensor new_scan_states(const ScanTensors& in);
torch::Tensor scan_forward(const ScanTensors& in, const torch::Tensor& initial, const torch::Tensor& states,
                           const torch::Tensor& final);
torch::Tensor scan_step(const ScanTensors& in, const torch::Tensor& state);
ScanTensors scan_backward(const ScanTensors& in, const torch::Tensor& states, const torch::Tensor& dy);

// x by rows. window (B, W-1, D), of x's type, contiguous.
torch::Tensor conv_forward(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias);
torch::Tensor conv_step(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                        const torch::Tensor& window);
// Writes the gradients, that of x by rows, too.
struct ConvGradients {
  torch::Tensor x, weight, bias;
};
void conv_backward(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                   const torch::Tensor& dy, const ConvGradients& d);

// Every tensor contiguous, undefined where there is none. Of the outputs, the backward reads sum, mean and rstd.
struct NormInputs {
  torch::Tensor x, branches[2], bias, weight[2], offset[2];
};
struct NormOutputs {
  torch::Tensor sum, y[2], mean, rstd;
};
void norm_forward(const kernels::ResidualNormShape& shape, const NormInputs& in, const NormOutputs& out);
// Writes the gradients that are defined; `branch` is that of both branches.
struct NormGradients {
  torch::Tensor x, branch, bias, weight[2], offset[2];
};
void norm_backward(const kernels::ResidualNormShape& shape, const NormInputs& in, const NormOutputs& out,
                   const torch::Tensor& dsum, const torch::Tensor (&dy)[2], const NormGradients& gradients);

// u and dy contiguous.
torch::Tensor bias_gelu_forward(const torch::Tensor& u, const torch::Tensor& bias);
struct GeluGradients {
  torch::Tensor u, bias;
};
GeluGradients bias_gelu_backward(const torch::Tensor& u, const torch::Tensor& bias, const torch::Tensor& dy);

// Products of bf16 matrices whose rows are one stride apart (kernels/product/product_cuda.h):
// x (M, I) times the transpose of weight (O, I), plus bias (O) where defined: (M, O).
torch::Tensor product(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias);
// dy (M, O) times weight (O, I), plus `addend` (M, I) where defined: (M, I).
torch::Tensor product_input_gradient(const torch::Tensor& dy, const torch::Tensor& weight, const torch::Tensor& addend);
// The transpose of dy (M, O) times x (M, I): writes it to `gradient` (O, I), float32, or adds it to what that holds.
void product_weight_gradient(const torch::Tensor& dy, const torch::Tensor& x, const torch::Tensor& gradient, bool adds);

// plain_product() (ops/product.h), where x (M, I), bf16 or float16, has at most as many rows as
// kernels/product/skinny_product_cuda.h takes.
bool takes_skinny_product(const torch::Tensor& x, const torch::Tensor& weight);
// One or two, of the same type, by one kernel: (M, O) each.
std::vector<torch::Tensor> skinny_products(const std::vector<PlainProduct>& products);

// Of kernels/rows/rows_cuda.h: zeros of `shape` (.., D), but rows (M, D), contiguous, at places `at` (M) of it.
torch::Tensor put_rows(const torch::Tensor& rows, const torch::Tensor& at, torch::IntArrayRef shape);
// The gradient (V, D), of the type of dy (.., D), of an embedding; both contiguous.
bool takes_embedding(const torch::Tensor& dy, int64_t vocabulary);
torch::Tensor embedding_gradient(const torch::Tensor& dy, const torch::Tensor& tokens, int64_t vocabulary);

// (B, T, width), float32 or bf16, of kernels/dropout/dropout_cuda.h; places (B, 3), int64, contiguous.
struct DropoutNumbers {
  uint64_t key;
  int64_t layer;
  uint32_t dropped_below;
  float kept;
};
torch::Tensor dropout_mask(const torch::Tensor& places, int64_t time, int64_t width, const DropoutNumbers& numbers,
                           torch::TensorOptions options);

// () float64: of float32 numbers.
torch::Tensor squared_norm(const torch::Tensor& numbers);
// The update of kernels/adamw/adamw_cuda.h, of flat float32 buffers, in place.
struct AdamWTensors {
  torch::Tensor weights, gradients, first_moments, second_moments;
  torch::Tensor copies;  // bf16, or undefined
};
struct AdamWScalars {
  double learning_rate, weight_decay;
  int64_t t;
  double divisor, limit, beta1, beta2, epsilon;
};
void adamw(const AdamWTensors& tensors, const AdamWScalars& step, const torch::Tensor& squared_norm);

}  // namespace recite::gpu
