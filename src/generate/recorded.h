// Work on a GPU that is queued again and again, at the cost of one launch. Defined where gpu::built (ops/gpu.h) is
// true.
#pragma once

#include <functional>

namespace recite::gpu {

// Records, in a CUDA graph, what `queue` puts on the current stream, without doing it; each call of what is returned
// queues it once, on the stream that is current then, with the memory of the recording. `queue` must not wait for the
// GPU, and must have run once before, so that libraries are ready.
std::function<void()> recorded(const std::function<void()>& queue);

}  // namespace recite::gpu
