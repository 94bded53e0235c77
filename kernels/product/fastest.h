// Which of several ways to do the same on a GPU is the fastest.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>

namespace recite::kernels {

// Its number, below `count` > 0: run(i) queues one run on `stream`, and the caller waits for about 4 ms of each, at
// least 7 runs. They are in the order in which they are to be preferred: a later one has to be clearly faster than the
// one kept so far, by 3 %, more than what such a measure is wrong by. Throws std::runtime_error when CUDA fails.
//
// A measure of few runs misses one thing: work that goes on makes a GPU lower its clock to keep to its power, and then
// time is what a way costs in energy (kernels/product/GPU.md).
size_t fastest(size_t count, const std::function<void(size_t)>& run, cudaStream_t stream);

}  // namespace recite::kernels
