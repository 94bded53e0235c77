"""The peers compute what they are said to: on the CPU, in small sizes, against the formula written out."""

import math
import re
from pathlib import Path

import attend
import generation_peers
import pytest
import step_peers
import torch
from goals import COPY, GOALS
from torch.nn.attention import SDPBackend
from torch.nn.attention.flex_attention import flex_attention

B, H, T, D = 2, 4, 13, 8
torch.set_num_threads(1)  # small sizes: more threads wait for one another


def by_the_formula(position: str, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    out = torch.zeros_like(q)
    for h in range(H):
        slope = 2 ** (-8 * (h + 1) / H) if position == "ALiBi" else 0
        for i in range(T):
            first = max(0, i - h) if position == "Hard-ALiBi" and h < H // 2 else 0
            back = torch.arange(i - first, -1, -1, dtype=q.dtype)
            scores = (k[:, h, first:i + 1] @ q[:, h, i, :, None])[..., 0] / math.sqrt(D) - slope * back
            out[:, h, i] = (scores.softmax(-1)[..., None] * v[:, h, first:i + 1]).sum(1)
    return out


@pytest.mark.parametrize("position", ["none", "ALiBi", "Hard-ALiBi"])
def test_attention_of_every_peer_is_the_formula(position):
    torch.manual_seed(1)
    q, k, v = torch.randn(3, B, H, T, D, dtype=torch.float64)
    expected = by_the_formula(position, q, k, v)
    bias = attend.bias_of(position, H, T, "cpu", torch.float64)
    assert bias.stride(-2) % 8 == 0
    found = {"bias": attend.with_backend(SDPBackend.MATH, attn_mask=bias),
             "flex": attend.flex(position, H, T, "cpu", flex_attention)}
    for name, attention in found.items():
        torch.testing.assert_close(attention(q, k, v), expected, msg=lambda text, name=name: f"{name}: {text}")


def test_peers_of_positions_are_named_as_the_goals_name_them():
    assert list(attend.peers("none", H, T, torch.bfloat16)) == list(attend.peers("RoPE", H, T, torch.bfloat16))
    assert attend.FLEX in attend.peers("ALiBi", H, T, torch.bfloat16)


def shape(model: str) -> dict:
    return {"model": model, "B": 4, "T": 9, "layers": 2, "hidden": 32, "heads": H}


@pytest.mark.parametrize("make, model, options", [
    (step_peers.neox, "rope", step_peers.BF16), (step_peers.neox, "rope", step_peers.AUTOCAST),
    (step_peers.nope, "nope", step_peers.BF16), (step_peers.lstm, "lstm", {}),
    (step_peers.lstm, "lstm", step_peers.AUTOCAST)])
def test_a_step_trains(make, model, options):
    torch.manual_seed(1)
    step = step_peers.Training(make(shape(model)), shape(model), **options, device="cpu")
    step.optimizer.param_groups[0]["lr"] = 1e-2
    losses = [step().item() for _ in range(40)]
    assert losses[0] == pytest.approx(math.log(step_peers.VOCABULARY), rel=0.25)
    assert losses[-1] < 0.8 * losses[0]


def test_a_transformer_sees_nothing_ahead():
    torch.manual_seed(1)
    model = step_peers.nope(shape("nope")).eval()
    tokens = torch.randint(0, step_peers.VOCABULARY, (1, T))
    later = tokens.clone()
    later[0, -1] = (later[0, -1] + 1) % step_peers.VOCABULARY
    with torch.no_grad():
        torch.testing.assert_close(model(tokens)[:, :-1], model(later)[:, :-1])
        assert not torch.allclose(model(tokens)[:, -1], model(later)[:, -1])


def test_parameters_are_those_of_the_paper():
    """151.2 M for the transformers, 33.6 M for the LSTM: counted without making them."""
    paper = {"model": "nope", "B": 64, "T": 220, "layers": 12, "hidden": 1024, "heads": 16}
    with torch.device("meta"):
        counts = {make: sum(weight.numel() for weight in make(paper | more).parameters()) for make, more in (
            (step_peers.neox, {}), (step_peers.nope, {}), (step_peers.lstm, {"layers": 4}))}
    assert counts[step_peers.neox] == counts[step_peers.nope]
    assert round(counts[step_peers.neox] / 1e5) == 1512 and round(counts[step_peers.lstm] / 1e5) == 336


def greedy(model: torch.nn.Module, prompts: torch.Tensor, count: int) -> torch.Tensor:
    """By the whole text again for each token."""
    with torch.no_grad():
        for _ in range(count):
            prompts = torch.cat([prompts, model(prompts).logits[:, -1:].argmax(-1)], 1)
    return prompts


@pytest.mark.parametrize("options", [{}, {"cache_implementation": "static"}])
@pytest.mark.parametrize("size", [{"hidden": 32, "layers": 2, "heads": H}, {"hidden": 32, "layers": 2}])
def test_transformers_writes_as_many_greedy_tokens_as_it_is_asked_for(size, options):
    torch.manual_seed(1)
    model = generation_peers.transformers_model(size)
    assert model.dtype == torch.bfloat16
    model.float()  # where no two logits are the same
    prompts = generation_peers.random_prompts(B, T, "cpu")
    generate = generation_peers.with_transformers(model, prompts, **options)
    for count in (5, 1):
        assert torch.equal(generate(count), greedy(model, prompts, count))


def test_the_time_of_a_token_is_without_the_pass_over_the_prompts(monkeypatch):
    now, asked = [0.0], []
    monkeypatch.setattr(generation_peers.time, "perf_counter", lambda: now[0])

    def generate(count: int) -> torch.Tensor:
        now[0] += (0.5 if asked else 60) + 0.01 * (count - 1)  # the first call compiles
        asked.append(count)
        return torch.zeros(1)
    assert generation_peers.token_microseconds(generate, 33, 0) == pytest.approx(1e4)
    assert asked == [33] + 3 * [1, 33]


def text_shape(model: str, batch: int) -> dict:
    return {"model": model, "B": batch, "prompt": 128, "tokens": 128}


def test_models_of_generation_are_those_of_the_program_and_of_the_goals():
    source = (Path(__file__).parent / "generation_gpu_bench.cpp").read_text()
    sizes = {name: [int(number) for number in numbers.split(", ")]
             for name, numbers in re.findall(r'(?:pythia|mamba)\("([^"]+)", ([0-9, ]+)\)', source)}
    assert sizes == {name: list(size.values()) for name, size in generation_peers.MODELS.items()}
    for goal in (goal for goal in GOALS if goal.operation == "generation"):
        of = text_shape(goal.shape["model"], goal.shape["B"])
        assert goal.than in [COPY, *generation_peers.peers(of, 0)]


def test_only_one_peer_of_generation_is_compiled():
    compiled = [(model, batch) for model in generation_peers.MODELS for batch in (1, 32)
                if generation_peers.GENERATE_COMPILED in generation_peers.peers(text_shape(model, batch), 0)]
    assert compiled == [("pythia-410m", 1)]


def test_parameters_are_those_of_the_published_models():
    with torch.device("meta"):
        counts = {name: sum(weight.numel() for weight in generation_peers.transformers_model(size).parameters())
                  for name, size in generation_peers.MODELS.items()}
    assert counts == {"pythia-410m": 405_334_016, "pythia-2.8b": 2_775_208_960, "mamba-370m": 371_516_416,
                      "mamba-2.8b": 2_768_345_600}
