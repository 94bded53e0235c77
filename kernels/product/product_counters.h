// The counters of products within a CUDA graph.
//
// cuBLASLt's algorithms for Hopper that hand out tiles one by one count them in their workspace, which they clear
// first: one more operation for each product, and what comes before a product and the product wait for each other by
// way of it. Products of a graph that have a counter each, out of these, can have all of them cleared at once.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

namespace recite::kernels {

class ProductCounters {
 public:
  static constexpr size_t largest_workspace = 4;  // of an algorithm that only counts
  static constexpr size_t count = 4096;

  // For one device, the current one; there until the process ends. Throws std::runtime_error.
  ProductCounters();
  ProductCounters(const ProductCounters&) = delete;
  ProductCounters& operator=(const ProductCounters&) = delete;

  // In device memory, for a product that is being captured; comes again when all others were given. One caller at a
  // time.
  void* next();

  // Of a graph that was captured on this device, before it is instantiated: counters that it clears exactly once are
  // all cleared by one node at its begin; others, of a graph of more products than there are counters, stay as they
  // are. Throws std::runtime_error when CUDA refuses.
  void clear_at_once(cudaGraph_t graph) const;

 private:
  unsigned char* memory_ = nullptr;
  size_t given_ = 0;
};

}  // namespace recite::kernels
