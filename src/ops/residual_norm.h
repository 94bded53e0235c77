// The residual stream and its norms of kernels/residual_norm/residual_norm.h on tensors, differentiable: by the
// kernels on the CPU and on a GPU, where float64 has none and is composed of LibTorch's operations.
#pragma once

#include <torch/torch.h>

#include <vector>

namespace recite {

// A LayerNorm, or an RMSNorm when `offset` is undefined. Of the stream's type.
struct NormWeights {
  torch::Tensor weight, offset;  // (D)
};

struct ResidualInputs {
  torch::Tensor stream;                 // (..., D), float32 or float64
  std::vector<torch::Tensor> branches;  // at most 2, shaped like the stream, of the type that the norms have
  torch::Tensor bias;                   // (D), of the stream's type, or undefined
};

struct Residual {
  torch::Tensor stream;              // stream + branches + bias
  std::vector<torch::Tensor> norms;  // of that, one for each of the weights
};

// `norms` holds one or two of the same kind; their outputs are of type `element`: the stream's, or bf16 or float16 of a
// float32 stream.
Residual residual_norm(const ResidualInputs& in, const std::vector<NormWeights>& norms, double epsilon,
                       torch::ScalarType element);

// The same written with LibTorch's operations, differentiable by them, on any device.
Residual composed_residual_norm(const ResidualInputs& in, const std::vector<NormWeights>& norms, double epsilon,
                                torch::ScalarType element);

}  // namespace recite
