"""Timing of PyTorch's work on a GPU as tests/gpu/bench.h times ours: queued runs, inputs taking turns."""

import math
import statistics
import time

import torch

WARM_UP, RUNS, LEAST = 5, 21, 5
CACHE_BYTES = 200e6  # several times what a GPU's cache holds, as in bench.h


def turns_of(size: float) -> int:
    """How many sets of inputs of `size` bytes no cache holds."""
    return max(1, math.ceil(CACHE_BYTES / size))


def queued_microseconds(run, sets: list, seconds: float) -> float:
    """The median of run(a set), sets taken in turn; fewer than 21 runs when they would take more than `seconds`.

    The GPU sleeps until the host has queued everything: Python's time for a launch is no part of the result.
    """
    for inputs in sets:
        run(inputs)
    torch.cuda.synchronize()
    begin = time.perf_counter()
    run(sets[0])
    queued = time.perf_counter() - begin
    torch.cuda.synchronize()
    runs = min(RUNS, max(LEAST, int(seconds / (time.perf_counter() - begin)))) + WARM_UP
    events = [torch.cuda.Event(enable_timing=True) for _ in range(runs + 1)]
    torch.cuda._sleep(int(2e9 * min(1.0, 1.5 * runs * queued)))  # cycles, of about 2 GHz
    for i, event in enumerate(events[:-1]):
        event.record()
        run(sets[i % len(sets)])
    events[-1].record()
    torch.cuda.synchronize()
    return statistics.median(1e3 * events[i].elapsed_time(events[i + 1]) for i in range(WARM_UP, runs))


def step_microseconds(step, seconds: float) -> float:
    """Of one training step, as the clock on the wall has it: the median of rounds of four, queued together."""
    for _ in range(3):
        step()
    torch.cuda.synchronize()
    rounds, first = [], time.perf_counter()
    while len(rounds) < 3 or time.perf_counter() - first < seconds:
        begin = time.perf_counter()
        for _ in range(4):
            step()
        torch.cuda.synchronize()
        rounds.append((time.perf_counter() - begin) / 4)
    return 1e6 * statistics.median(rounds)


def ceilings(seconds: float) -> dict:
    """What a product of bf16 matrices and a copy reach here."""
    rows, size = 8192, 1 << 30
    a, b = (torch.randn(rows, rows, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    product = torch.empty_like(a)
    of_product = queued_microseconds(lambda _: torch.mm(a, b, out=product), [None], seconds)
    source = torch.zeros(size, device="cuda", dtype=torch.uint8)
    to = torch.empty_like(source)
    of_copy = queued_microseconds(lambda _: to.copy_(source), [None], seconds)
    return {"product_flops_per_second": 2e6 * rows**3 / of_product, "copy_bytes_per_second": 2e6 * size / of_copy}
