"""Times of PyTorch's scaled_dot_product_attention beside attention_gpu_bench: from and to the fused projection.

python3 tests/gpu/attention_peers.py
"""

import statistics

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

REPEATS = 40


def median_time(run, sets):
    """The median of microseconds that run(a set) takes; sets are taken in turn."""
    times = []
    for i in range(REPEATS + 5):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run(sets[i % len(sets)])
        stop.record()
        stop.synchronize()
        if i >= 5:
            times.append(1000 * start.elapsed_time(stop))
    return statistics.median(times)


def attend(qkv):
    q, k, v = (x.transpose(1, 2) for x in qkv.unbind(3))
    return scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)


def measure(batch, heads, time, head):
    shape = (batch, time, heads, 3, head)
    size = 2 * batch * time * heads * head
    sets = []
    for _ in range(max(1, round(200e6 / (4 * size)))):
        qkv = torch.randn(shape, device="cuda", dtype=torch.bfloat16, requires_grad=True)
        sets.append((qkv, torch.randn_like(qkv[:, :, :, 0]), attend(qkv)))

    def backward(arrays):
        qkv, dout, out = arrays
        torch.autograd.grad(out, qkv, dout, retain_graph=True)

    with torch.no_grad():
        forward_time = median_time(lambda arrays: attend(arrays[0]), sets)
    return forward_time, median_time(backward, sets)


def main():
    for name, backend in (("flash", SDPBackend.FLASH_ATTENTION), ("cuDNN", SDPBackend.CUDNN_ATTENTION)):
        for shape in ((64, 16, 220, 64), (8, 16, 1024, 64), (1, 16, 16384, 64), (64, 8, 220, 128)):
            with sdpa_kernel(backend):
                forward, backward = measure(*shape)
            batch, heads, time, head = shape
            times = f"{forward:8.1f} / {backward:8.1f} us"
            print(f"{name:6s} B {batch}, H {heads}, T {time}, d {head}: {times}", flush=True)


if __name__ == "__main__":
    main()
