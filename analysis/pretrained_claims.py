"""How each claim of the paper about pretrained models is judged.

They compare Pythia with Mamba; the sizes are those that the names of the folders say. Criteria are ours.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from analysis import style
from analysis.claims import MARGIN, NEAR_ZERO, Missing, Verdict
from analysis.curves import SHUFFLED, Curve, Data, Panel, length_curves

SHUFFLED_LENGTH = 300  # tokens, from which the largest Mamba is at 0 on shuffled text
FROM_ENTRIES = 70      # of the phone book
SHORT_BINS = 2         # of SQuAD, in which models are equal ...
ALIKE = 0.1            # ... to so much F1


def copies_better(data: Data) -> Verdict:
    """The smallest Pythia and the largest Mamba, on text as it stands."""
    pythia, mamba = _smallest(data, "c4_copy", "pythia"), _largest(data, "c4_copy", "mamba")
    lengths, left, right = _common(pythia, mamba)
    return bool(left.mean() - right.mean() > MARGIN), _table(pythia, mamba, lengths, left, right)


def shuffled_is_lost(data: Data) -> Verdict:
    mamba = _largest(data, SHUFFLED, "mamba")
    beyond = mamba.x >= SHUFFLED_LENGTH
    if not beyond.any():
        raise Missing(f"{mamba.model}: nothing from {SHUFFLED_LENGTH} tokens on")
    highest = mamba.y[beyond].max()
    return bool(highest <= NEAR_ZERO), [f"{mamba.model}: at most {highest:.3f} from {mamba.x[beyond][0]:.0f} tokens on"]


def finds_numbers(data: Data) -> Verdict:
    """The smallest Pythia and the largest Mamba, at each size of book."""
    pythia, mamba = _smallest(data, "phone_book", "pythia"), _largest(data, "phone_book", "mamba")
    lengths, left, right = _common(pythia, mamba, lambda length: length >= FROM_ENTRIES)
    return bool((left > right).all()), _table(pythia, mamba, lengths, left, right)


def answers_alike_when_short(data: Data) -> Verdict:
    pythia, mamba = _largest(data, "squad", "pythia"), _largest(data, "squad", "mamba")
    lengths, left, right = (values[:SHORT_BINS] for values in _common(pythia, mamba))
    return bool((np.abs(left - right) <= ALIKE).all()), _table(pythia, mamba, lengths, left, right)


def falls_faster(data: Data) -> Verdict:
    """By how much F1 is lower in the last bin than in the first."""
    pythia, mamba = _largest(data, "squad", "pythia"), _largest(data, "squad", "mamba")
    lengths, left, right = _common(pythia, mamba)
    if len(lengths) <= SHORT_BINS:
        raise Missing(f"{len(lengths)} bins, and more than {SHORT_BINS} are needed")
    own, other = left[0] - left[-1], right[0] - right[-1]
    numbers = [f"{model}: falls by {fall:.3f}" for model, fall in ((pythia.model, own), (mamba.model, other))]
    return bool(other - own > MARGIN), [f"from {lengths[0]:.0f} to {lengths[-1]:.0f} tokens", *numbers]


def _smallest(data: Data, task: str, family: str) -> Curve:
    return min(_of_family(data, task, family), key=lambda curve: style.size_of(curve.model))


def _largest(data: Data, task: str, family: str) -> Curve:
    return max(_of_family(data, task, family), key=lambda curve: style.size_of(curve.model))


def _of_family(data: Data, task: str, family: str) -> list[Curve]:
    """Of several configurations of one model the first counts."""
    metric = "f1" if task == "squad" else "exact_match"
    curves = length_curves(data, Panel(task, task, 0), metric)
    found = [curve for curve in curves if style.family_of(curve.model) == family and style.size_of(curve.model) > 0]
    if not found:
        raise Missing(f"no {family} of a size that its name says was asked: {style.task_label(task, 0)}")
    return found


def _common(
    one: Curve, other: Curve, wanted: Callable[[float], bool] = lambda length: True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The lengths at which both were measured, and what each reached there."""
    lengths, left, right = np.intersect1d(one.x, other.x, return_indices=True)
    chosen = np.array([wanted(length) for length in lengths], dtype=bool)
    if not chosen.any():
        raise Missing(f"{one.model} and {other.model} have no such length in common")
    return lengths[chosen], one.y[left[chosen]], other.y[right[chosen]]


def _table(one: Curve, other: Curve, lengths: np.ndarray, left: np.ndarray, right: np.ndarray) -> list[str]:
    rows = (f"{length:.0f}: {a:.3f}, {b:.3f}" for length, a, b in zip(lengths, left, right))
    return [f"{one.model} and {other.model}", *rows]
