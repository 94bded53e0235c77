"""The paper's claims against data where they hold, fail, or cannot be judged."""

from pathlib import Path

import pytest
from results_file import Sweep

from analysis import curves
from analysis.compare import FAILS, HOLDS, NOT_MEASURED, Finding, compare, report
from analysis.read import read_results

TRANSFORMERS = ("rope", "nope", "alibi", "hard_alibi")


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(tmp_path / "results.h5")


def finding(sweep: Sweep, words: str) -> Finding:
    (found,) = [found for found in compare(curves.load(read_results(sweep.write()))) if words in found.claim]
    return found


def lengths(sweep: Sweep, model: str, right: dict[int, float], task: str = "copy", n: int = 0, **options) -> int:
    """A job trained to 50, with string accuracy `right` by length."""
    job = sweep.job(model, task=task, n_gram=n, **options)
    for length, value in right.items():
        sweep.evaluation(job, length, value, task=task, n_gram=n)
    return job


def learns(sweep: Sweep, model: str, right: dict[int, float], maximum: int = 300, **options) -> None:
    """A job with string accuracy `right` at the training maximum by training strings seen."""
    job = sweep.job(model, train=(5, maximum), **options)
    for examples, value in right.items():
        sweep.evaluation(job, maximum, value, step=examples, examples=examples)


def test_c4_copy(sweep: Sweep) -> None:
    sweep.pretrained("pythia-410m", "c4_copy", {100: 0.9, 300: 0.6})
    sweep.pretrained("pythia-2.8b", "c4_copy", {100: 1.0, 300: 1.0})
    sweep.pretrained("mamba-370m", "c4_copy", {100: 1.0, 300: 1.0})
    sweep.pretrained("mamba-2.8b", "c4_copy", {100: 0.8, 300: 0.1, 400: 0.0})
    found = finding(sweep, "C4 copy: the smallest")
    assert found.verdict == HOLDS
    assert found.numbers == ("pythia-410m and mamba-2.8b", "100: 0.900, 0.800", "300: 0.600, 0.100")
    assert finding(sweep, "C4 copy, shuffled").verdict == NOT_MEASURED
    sweep.pretrained("mamba-2.8b", "c4_copy", {100: 0.8, 300: 0.04}, order="random")
    assert finding(sweep, "C4 copy, shuffled").verdict == HOLDS


@pytest.mark.parametrize("mamba, verdict", [(0.6, HOLDS), (0.75, FAILS)])
def test_phone_book(sweep: Sweep, mamba: float, verdict: str) -> None:
    sweep.pretrained("pythia-410m", "phone_book", {20: 0.5, 70: 0.7, 100: 0.65})
    sweep.pretrained("mamba-2.8b", "phone_book", {20: 1.0, 70: mamba, 100: 0.6})
    found = finding(sweep, "Phone book")
    assert found.verdict == verdict and "20:" not in str(found.numbers)


def test_squad(sweep: Sweep) -> None:
    for model, f1 in (("pythia-2.8b", {50: 0.5, 100: 0.5, 150: 0.4}), ("mamba-2.8b", {50: 0.55, 100: 0.45, 150: 0.2})):
        sweep.pretrained(model, "squad", dict.fromkeys(f1, 0.1), f1)
    assert finding(sweep, "equal on short contexts").verdict == HOLDS
    found = finding(sweep, "falls faster")
    assert found.verdict == HOLDS
    assert found.numbers == ("from 50 to 150 tokens", "pythia-2.8b: falls by 0.100", "mamba-2.8b: falls by 0.350")


def test_nothing_measured(sweep: Sweep) -> None:
    assert {found.verdict for found in compare(curves.load(read_results(sweep.write())))} == {NOT_MEASURED}


@pytest.mark.parametrize("mamba_needs, verdict", [(10_000, HOLDS), (1000, FAILS)])
def test_efficiency(sweep: Sweep, mamba_needs: int, verdict: str) -> None:
    learns(sweep, "rope", {50: 0.1, 100: 0.99})
    learns(sweep, "nope", {50: 0.1, 200: 0.97})
    learns(sweep, "mamba", {100: 0.0, mamba_needs: 0.96})
    found = finding(sweep, "100 times fewer")
    assert found.verdict == verdict
    assert f"Mamba / RoPE: {mamba_needs / 100:g}" in found.numbers
    assert f"Mamba / NoPE: {mamba_needs / 200:g}" in found.numbers
    assert "strings of length 300 (paper: 300)" in found.numbers


def test_efficiency_of_the_best_learning_rate_counts(sweep: Sweep) -> None:
    learns(sweep, "rope", {50: 0.1, 100: 0.99})
    learns(sweep, "mamba", {50: 0.1, 90_000: 0.99}, rate=1e-5)
    learns(sweep, "mamba", {50: 0.1, 200: 0.99}, rate=1e-3)
    found = finding(sweep, "100 times fewer")
    assert found.verdict == FAILS and "Mamba / RoPE: 2" in found.numbers


@pytest.mark.parametrize("seen, verdict", [(10_000, HOLDS), (1000, NOT_MEASURED)])
def test_efficiency_where_mamba_never_got_there(sweep: Sweep, seen: int, verdict: str) -> None:
    learns(sweep, "rope", {50: 0.1, 100: 0.99})
    learns(sweep, "mamba", {100: 0.0, seen: 0.5})
    found = finding(sweep, "100 times fewer")
    assert found.verdict == verdict
    assert f"Mamba / RoPE: at least {seen / 100:g}" in found.numbers


def test_efficiency_where_the_first_measurement_came_too_late(sweep: Sweep) -> None:
    learns(sweep, "rope", {100: 0.99})
    learns(sweep, "mamba", {100: 0.1, 1000: 0.99})
    assert finding(sweep, "100 times fewer").verdict == NOT_MEASURED


def test_efficiency_fails_if_a_transformer_does_not_learn(sweep: Sweep) -> None:
    learns(sweep, "rope", {50: 0.1, 100: 0.5})
    learns(sweep, "mamba", {50: 0.1, 100: 0.99})
    assert finding(sweep, "100 times fewer").verdict == FAILS


def test_efficiency_without_mamba(sweep: Sweep) -> None:
    learns(sweep, "rope", {100: 0.99})
    found = finding(sweep, "100 times fewer")
    assert found.verdict == NOT_MEASURED and "Mamba: not measured" in found.numbers


@pytest.mark.parametrize(
    "right, maximum, verdict",
    [(0.1, 300, HOLDS), (0.99, 300, FAILS), (0.1, 50, NOT_MEASURED), (0.99, 50, NOT_MEASURED)],
)
def test_lstm_does_not_learn(sweep: Sweep, right: float, maximum: int, verdict: str) -> None:
    learns(sweep, "lstm", {100: 0.0, 1000: right}, maximum)
    assert finding(sweep, "LSTM does not learn").verdict == verdict


@pytest.mark.parametrize("lowest, verdict", [(0.96, HOLDS), (0.9, FAILS)])
def test_solved_in_distribution(sweep: Sweep, lowest: float, verdict: str) -> None:
    for model in (*TRANSFORMERS, "mamba"):
        lengths(sweep, model, {10: 1.0, 50: lowest if model == "mamba" else 1.0, 80: 0.0})
    found = finding(sweep, "solves the trained lengths")
    assert found.verdict == verdict
    assert f"Mamba: lowest {lowest:.3f} up to length 50" in found.numbers and "LSTM: not measured" in found.numbers


@pytest.mark.parametrize("left, verdict", [(0.01, HOLDS), (0.3, FAILS)])
def test_recurrent_models_fall(sweep: Sweep, left: float, verdict: str) -> None:
    lengths(sweep, "mamba", {50: 1.0, 60: 0.5, 80: left, 100: 0.0})
    assert finding(sweep, "fall to zero").verdict == verdict


def test_what_was_never_learned_cannot_fall(sweep: Sweep) -> None:
    lengths(sweep, "lstm", {50: 0.0, 80: 0.0})
    found = finding(sweep, "fall to zero")
    assert found.verdict == NOT_MEASURED and "nothing to fall" in " ".join(found.numbers)


def test_fall_needs_longer_strings(sweep: Sweep) -> None:
    lengths(sweep, "mamba", {50: 1.0, 60: 0.0})
    assert finding(sweep, "fall to zero").verdict == NOT_MEASURED


@pytest.mark.parametrize("left, verdict", [(0.6, HOLDS), (0.4, FAILS)])
def test_transformers_decay_slowly(sweep: Sweep, left: float, verdict: str) -> None:
    lengths(sweep, "nope", {50: 1.0, 80: 0.9, 100: 0.0})
    lengths(sweep, "rope", {50: 1.0, 80: left})
    assert finding(sweep, "decay slowly").verdict == verdict


@pytest.mark.parametrize(
    "right, verdict",
    [({50: 1.0, 500: 0.99, 1000: 0.96}, HOLDS), ({50: 1.0, 1000: 0.9}, FAILS), ({50: 1.0, 500: 1.0}, NOT_MEASURED),
     ({50: 1.0}, NOT_MEASURED)],
)
def test_hard_alibi(sweep: Sweep, right: dict[int, float], verdict: str) -> None:
    lengths(sweep, "hard_alibi", right)
    assert finding(sweep, "almost perfect").verdict == verdict


@pytest.mark.parametrize("rope, mamba, transformers, state_space", [
    (0.9, 0.1, HOLDS, HOLDS), (0.5, 0.6, FAILS, FAILS),
])
def test_suffix_key(sweep: Sweep, rope: float, mamba: float, transformers: str, state_space: str) -> None:
    lengths(sweep, "rope", {50: 1.0, 150: rope}, "suffix_ngram", 2)
    lengths(sweep, "mamba", {50: 1.0, 150: mamba}, "suffix_ngram", 2)
    assert finding(sweep, "suffix key: transformers").verdict == transformers
    found = finding(sweep, "suffix key: state-space")
    assert found.verdict == state_space
    assert f"n=2: Mamba: 1.000 in distribution, {mamba:.3f} at length 150" in found.numbers
    assert finding(sweep, "prefix key: state-space models generalise perfectly").verdict == NOT_MEASURED


@pytest.mark.parametrize("mamba, hard, perfectly, better, not_better", [
    (0.99, 0.99, HOLDS, HOLDS, HOLDS), (0.6, 0.3, FAILS, FAILS, FAILS),
])
def test_prefix_key(sweep: Sweep, mamba: float, hard: float, perfectly: str, better: str, not_better: str) -> None:
    for model, right in (("mamba", mamba), ("hard_alibi", hard), ("nope", 0.7), ("alibi", 0.5)):
        lengths(sweep, model, {50: 1.0, 100: right}, "prefix_ngram", 3)
    assert finding(sweep, "generalise perfectly").verdict == perfectly
    assert finding(sweep, "better than NoPE and ALiBi").verdict == better
    assert finding(sweep, "do not generalise better").verdict == not_better


def test_a_claim_must_hold_for_each_n(sweep: Sweep) -> None:
    lengths(sweep, "mamba", {50: 1.0, 100: 1.0}, "prefix_ngram", 2)
    assert finding(sweep, "generalise perfectly").verdict == HOLDS
    lengths(sweep, "mamba", {50: 1.0, 100: 0.5}, "prefix_ngram", 3)
    assert finding(sweep, "generalise perfectly").verdict == FAILS


@pytest.mark.parametrize("right, verdict", [
    ({1: 1.0, 4: 0.98, 5: 0.7, 8: 0.2}, HOLDS), ({1: 1.0, 4: 0.8, 5: 0.7}, FAILS), ({4: 1.0, 5: 1.0}, FAILS),
    ({1: 1.0, 2: 1.0}, NOT_MEASURED),
])
def test_duplicated_ngrams(sweep: Sweep, right: dict[int, float], verdict: str) -> None:
    job = lengths(sweep, "nope", {50: 1.0})
    for n, value in right.items():
        sweep.evaluation(job, 50, value, task="duplicate_ngram", n_gram=n)
    assert finding(sweep, "Duplicated n-grams").verdict == verdict


def test_seeds_are_averaged(sweep: Sweep) -> None:
    lengths(sweep, "mamba", {50: 1.0, 80: 0.0}, seed=1)
    lengths(sweep, "mamba", {50: 1.0, 80: 0.2}, seed=2)
    found = finding(sweep, "fall to zero")
    assert found.verdict == FAILS and "0.100 at length 80" in " ".join(found.numbers)


def test_report() -> None:
    text = report([Finding("A claim", HOLDS, "a rule", ("one", "two"))])
    assert text == "holds:         A claim\n    judged by: a rule\n    one\n    two"
