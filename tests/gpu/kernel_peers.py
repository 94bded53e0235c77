"""The peers of the kernels: PyTorch's attention, mamba-ssm's scan, causal-conv1d's convolution.

A peer gives the times of a forward and of a backward, or of a step of decoding, in microseconds. None moves more than
it must: the gradients of q, k and v stay three arrays, and ours become one, that of the projection.
"""

import attend
import torch
import torch._functorch.config
from goals import CONV, CUDNN, MAMBA
from queued import queued_microseconds, turns_of
from torch.nn.attention import SDPBackend

DTYPES = {"bf16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def random(*shape: int, dtype: torch.dtype = torch.float32, low: float = -1, high: float = 1) -> torch.Tensor:
    return torch.empty(shape, device="cuda", dtype=dtype).uniform_(low, high)


# Donated buffers would forbid a second backward of the same forward, which is how the backward is timed.
@torch._functorch.config.patch(donated_buffer=False)
def forward_and_backward(run, sets: list[list], seconds: float) -> dict[str, float]:
    """`run` takes a set's tensors. The forward keeps what the backward needs, as in training."""
    for inputs in sets:
        for tensor in inputs:
            tensor.requires_grad_()
    outputs = [run(*inputs) for inputs in sets]
    gradients = [torch.randn_like(out) for out in outputs]

    def backward(turn: int) -> None:
        torch.autograd.grad(outputs[turn], sets[turn], gradients[turn], retain_graph=True)
    return {"forward": queued_microseconds(lambda inputs: run(*inputs), sets, seconds),
            "backward": queued_microseconds(backward, list(range(len(sets))), seconds)}


def attention(shape: dict, dtype: torch.dtype, seconds: float) -> dict:
    B, H, T, d = (shape[name] for name in "BHTd")
    size = 4 * B * H * T * d * dtype.itemsize

    def measure(make) -> dict[str, float]:
        attends = make()  # of parts of one projection, as they lie in training
        sets = [[part.transpose(1, 2).detach() for part in random(B, T, H, 3, d, dtype=dtype).unbind(3)]
                for _ in range(turns_of(size))]
        return forward_and_backward(attends, sets, seconds)
    return {name: lambda make=make: measure(make)
            for name, make in attend.peers(shape["position"], H, T, dtype).items()}


def attention_step(shape: dict, dtype: torch.dtype, seconds: float) -> dict:
    B, H, T, d = (shape[name] for name in "BHTd")

    def measure(backend: SDPBackend) -> dict[str, float]:
        run = attend.with_backend(backend)
        sets = [[random(B, H, 1, d, dtype=dtype)] + [random(B, H, T, d, dtype=dtype) for _ in range(2)]
                for _ in range(turns_of(2 * B * H * T * d * dtype.itemsize))]
        with torch.no_grad():
            return {"step": queued_microseconds(lambda inputs: run(*inputs), sets, seconds)}
    backends = {CUDNN: SDPBackend.CUDNN_ATTENTION, attend.FLASH: SDPBackend.FLASH_ATTENTION,
                "efficient SDPA": SDPBackend.EFFICIENT_ATTENTION}
    return {name: lambda backend=backend: measure(backend) for name, backend in backends.items()}


def let_mamba_ssm_load() -> None:
    """It takes names from transformers, for its generation, that newer versions call otherwise."""
    import transformers.generation as generation
    for name in ("GreedySearchDecoderOnlyOutput", "SampleDecoderOnlyOutput"):
        if not hasattr(generation, name):
            setattr(generation, name, generation.GenerateDecoderOnlyOutput)


def scan(shape: dict, dtype: torch.dtype, seconds: float) -> dict:
    B, T, D, N = (shape[name] for name in "BTDN")

    def measure() -> dict[str, float]:
        let_mamba_ssm_load()
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
        inputs = [random(B, D, T, dtype=dtype), random(B, D, T, dtype=dtype, low=-2, high=0), random(D, N, low=-32,
                  high=-0.5), random(B, N, T, dtype=dtype), random(B, N, T, dtype=dtype), random(D),
                  random(B, D, T, dtype=dtype), random(D, low=-3, high=0)]
        return forward_and_backward(lambda *tensors: selective_scan_fn(*tensors, delta_softplus=True), [inputs],
                                    seconds)
    return {MAMBA: measure}


def scan_step(shape: dict, dtype: torch.dtype, seconds: float) -> dict:
    B, D, N = (shape[name] for name in "BDN")

    def measure() -> dict[str, float]:
        let_mamba_ssm_load()
        from mamba_ssm.ops.triton.selective_state_update import selective_state_update
        u, delta, z = (random(B, D, dtype=dtype) for _ in range(3))
        A, b, c = random(D, N, low=-32, high=-0.5), random(B, N, dtype=dtype), random(B, N, dtype=dtype)
        skip, bias = random(D), random(D, low=-3, high=0)
        states = [random(B, D, N) for _ in range(turns_of(8 * B * D * N))]

        def run(state: torch.Tensor) -> None:
            selective_state_update(state, u, delta, A, b, c, D=skip, z=z, dt_bias=bias, dt_softplus=True)
        return {"step": queued_microseconds(run, states, seconds)}
    return {MAMBA: measure}


def convolution(shape: dict, dtype: torch.dtype, seconds: float) -> dict:
    B, T, D, W = (shape[name] for name in "BTDW")

    def measure(channels_last: bool) -> dict[str, float]:
        from causal_conv1d import causal_conv1d_fn
        weight, bias = random(D, W), random(D)
        sets = []
        for _ in range(turns_of(2 * B * T * D * dtype.itemsize)):
            x = random(B, T, D, dtype=dtype).transpose(1, 2) if channels_last else random(B, D, T, dtype=dtype)
            sets.append([x, weight, bias])
        return forward_and_backward(lambda *inputs: causal_conv1d_fn(*inputs, activation="silu"), sets, seconds)
    return {CONV: lambda: measure(False), f"{CONV}, channels last": lambda: measure(True)}


def skinny_product(shape: dict, dtype: torch.dtype, seconds: float) -> dict:
    M, N, K = (shape[name] for name in "MNK")

    def measure() -> dict[str, float]:
        x = random(M, K, dtype=dtype)
        weights = [random(N, K, dtype=dtype) for _ in range(turns_of(N * K * dtype.itemsize))]
        with torch.no_grad():
            return {"step": queued_microseconds(lambda weight: torch.nn.functional.linear(x, weight), weights, seconds)}
    return {"cuBLAS, as PyTorch calls it": measure}


def copy(shape: dict, seconds: float) -> dict:
    def measure() -> dict[str, float]:
        source = torch.zeros(shape["bytes"], device="cuda", dtype=torch.uint8)
        to = torch.empty_like(source)
        return {"step": queued_microseconds(lambda _: to.copy_(source), [None], seconds)}
    return {"torch": measure}


def peers(row: dict, seconds: float) -> dict:
    """Of a row of our benches: {name: a function that measures {direction: microseconds}}."""
    operation, shape, step = row["operation"], row["shape"], row["direction"] == "step"
    if operation == "copy":
        return copy(shape, seconds)
    dtype = DTYPES[row["dtype"]]
    if operation == "attention":
        return attention_step(shape, dtype, seconds) if step else attention(shape, dtype, seconds)
    if operation == "product of few rows":
        return skinny_product(shape, dtype, seconds)
    if operation == "selective scan":
        return scan_step(shape, dtype, seconds) if step else scan(shape, dtype, seconds)
    return convolution(shape, dtype, seconds) if operation == "causal convolution" else {}
