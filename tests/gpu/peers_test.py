"""The peers compute what they are said to: on the CPU, in small sizes, against the formula written out."""

import math

import attend
import pytest
import step_peers
import torch
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
