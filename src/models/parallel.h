#pragma once

#include <cstdint>
#include <functional>

namespace recite {

// Calls body(0) .. body(count - 1), each once, spread over the threads that at::set_num_threads allows.
// (at::parallel_for is serial in a file that is compiled without OpenMP, as every file with the precompiled header is.)
// `body` must not throw.
void parallel_for(int64_t count, const std::function<void(int64_t)>& body);

}  // namespace recite
