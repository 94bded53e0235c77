"""What `recite` wants to reach on a GPU, as times of a peer that is measured in the same call.

A goal was set in microseconds beside what the peer took then, both on one H200: `goal` and `then`. Machines of one kind
differ a little and kinds a lot, so what must hold is the ratio: ours is at most goal / then of what the peer takes now.
`than` names the peer, `at` what differs in the shape of the row that the peer is of ("as fast as attention without
positions"); `than` HERE is our own time at that row, and `than` COPY the time in which a copy moves the row's bytes.
Without `than` there was no peer to run beside it: the goal is the time itself, on an H200.
"""

from dataclasses import dataclass, field

HERE, COPY = "here", "a copy"
CUDNN, FLEX, MAMBA, CONV = "cuDNN SDPA", "flex_attention", "mamba-ssm", "causal-conv1d"
NEOX_COMPILED = "GPT-NeoX, SDPA, bf16, torch.compile"
MAMBA_AUTOCAST, LSTM_TF32 = "mamba-ssm, bf16 autocast", "cuDNN, tf32"
GENERATE = "transformers, generate"
GENERATE_COMPILED = f"{GENERATE}, static cache and torch.compile"


@dataclass(frozen=True)
class Goal:
    operation: str
    shape: dict  # what the row's shape must have; it may have more
    direction: str
    goal: float
    then: float = 1
    than: str | None = None
    at: dict = field(default_factory=dict)
    dtype: str = "bf16"

    def is_of(self, row: dict) -> bool:
        return ((self.operation, self.direction, self.dtype) == (row["operation"], row["direction"], row["dtype"])
                and self.shape.items() <= row["shape"].items())


def both(operation: str, shape: dict, goals: tuple, then: tuple = (1, 1), **more) -> list[Goal]:
    """Of the forward and of the backward."""
    return [Goal(operation, shape, direction, goal, before, **more)
            for direction, goal, before in zip(("forward", "backward"), goals, then)]


def attention(batch: int, time: int, goals: tuple, cudnn: tuple, windows: float) -> list[Goal]:
    """Positions cost nothing: RoPE and ALiBi are to be as fast as attention without them. `windows`: Hard-ALiBi, whose
    windows on half of the heads save work, of our own time without positions."""
    shape = {"B": batch, "H": 16, "T": time, "d": 64}
    plain = {"position": "none"}
    found = []
    for position in ("none", "RoPE", "ALiBi"):
        found += both("attention", shape | {"position": position}, goals, cudnn, than=CUDNN, at=plain)
    return found + both("attention", shape | {"position": "Hard-ALiBi"}, (windows, windows), than=HERE, at=plain)


def step(model: str, batch: int, goal: float, then: float = 1, than: str | None = None, **more) -> Goal:
    """Of one training step of `batch` x 220 tokens, hidden 1024: times in milliseconds."""
    shape = {"model": model, "B": batch} | more.pop("shape", {})
    return Goal("training step", shape, "step", 1e3 * goal, 1e3 * then, than, **more)


def token(model: str, speed: float, than: str) -> Goal:
    """Of one token of a single text: `speed` times as fast as the peer, at least."""
    return Goal("generation", {"model": model, "B": 1}, "token", 1, speed, than)


GOALS = [
    *both("selective scan", {"B": 64, "T": 220, "D": 2048, "N": 32}, (400, 1500), (1926, 5847), than=MAMBA),
    *both("selective scan", {"B": 8, "T": 2048, "D": 2048, "N": 32}, (500, 1600), (1091, 4818), than=MAMBA),
    *both("selective scan", {"B": 1, "T": 8192, "D": 5120, "N": 16}, (450, 1500), (925, 3499), than=MAMBA),
    *both("causal convolution", {"B": 64, "T": 220, "D": 2048, "W": 4}, (45, 110), (265, 579), than=CONV),
    *attention(64, 220, (80, 280), cudnn=(82, 306), windows=0.7),
    *attention(8, 1024, (90, 330), cudnn=(82, 304), windows=0.6),
    step("rope", 64, 30, 38.5, NEOX_COMPILED),
    step("rope", 64, 27, 38.5, NEOX_COMPILED),
    step("rope", 8, 6),
    *(step(model, 64, 30, 38.5, NEOX_COMPILED, at={"model": "rope"}) for model in ("nope", "alibi", "hard_alibi")),
    step("mamba", 64, 75, 240, MAMBA_AUTOCAST, shape={"layers": 24}),
    step("mamba", 64, 40, 122, MAMBA_AUTOCAST, shape={"layers": 12}),
    step("lstm", 64, 37, 37, LSTM_TF32),
    token("pythia-410m", 3, GENERATE),
    token("pythia-2.8b", 0.6, COPY),  # a share of the bandwidth: its weights are read once
]
