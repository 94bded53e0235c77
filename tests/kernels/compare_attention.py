"""Times of PyTorch's scaled_dot_product_attention on a CPU beside those of kernels/attention, in one run.

    .venv/bin/python tests/kernels/compare_attention.py build/release/tests/kernels/kernels_bench
"""

import os
import subprocess
import sys
import time

import torch


def least_ms(run, seconds: float = 1.5) -> float:
    times, end = [], time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def torch_times(batch: int, length: int, heads: int, head: int) -> tuple[float, float]:
    """Of the forward and of the backward, from and to the fused projection (B, T, H, 3, head)."""
    qkv = torch.randn(batch, length, heads, 3, head, requires_grad=True)
    gradient = torch.randn(batch, length, heads * head)

    def forward() -> torch.Tensor:
        q, k, v = qkv.transpose(1, 2).unbind(3)
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return mixed.transpose(1, 2).reshape(batch, length, heads * head)

    out = forward()
    backward = least_ms(lambda: torch.autograd.grad(out, qkv, gradient, retain_graph=True))
    return least_ms(forward), backward


def main() -> None:
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for shape in ((32, 128, 4, 32), (64, 220, 16, 64)):
            forward, backward = torch_times(*shape)
            print(f"torch, {threads} threads, B, T, H, d = {shape}:", end=" ")
            print(f"forward {forward:.2f} ms, backward {backward:.2f} ms", flush=True)
        subprocess.run([sys.argv[1], "nope"], env={**os.environ, "OMP_NUM_THREADS": str(threads)}, check=True)


if __name__ == "__main__":
    main()
