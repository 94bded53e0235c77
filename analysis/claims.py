"""How each claim of the paper about its synthetic tasks is judged: one function a claim, from curves to a verdict.

Where the paper names no number ("slowly", "badly") the criterion is ours. Of several configurations of one model
(learning rates, layers) the best in distribution counts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from analysis import style
from analysis.curves import Curve, Data, Panel, efficiency_curves, efficiency_length, length_curves, panels

TRANSFORMERS = ("rope", "nope", "alibi", "hard_alibi")
STATE_SPACE = ("mamba",)
RECURRENT = ("mamba", "lstm")

SOLVED = 0.95          # string accuracy from which a length is solved
NEAR_ZERO = 0.05       # and below which nothing is left
JUST_BEYOND = 1.5      # times the training maximum: where "at once" and "slowly" are judged
LITTLE, BADLY = 0.75, 0.5  # of the in-distribution accuracy: kept by what degrades a little, lost by what does badly
FEWER = 100 / 10 ** 0.5    # "about 100 times": up to half an order of magnitude less
PAPER_REACH = 20       # the paper evaluates to 1000 what it trained to 50
PAPER_LENGTH = 300     # of the strings of its training efficiency
MARGIN = 0.02          # of mean accuracy, within which two models are alike
HOLDS_TO_N = 4         # of the duplicated n-grams


class Missing(Exception):
    """A claim cannot be judged: what is not in the file."""


Verdict = tuple[bool, list[str]]
Judge = Callable[[Data], Verdict]


def efficiency_ratio(data: Data) -> Verdict:
    """Each transformer against the best state-space model."""
    length, curves = _efficiency(data)
    needed = {model: _examples_needed(curves[model]) for model in curves}
    numbers = [f"strings of length {length} (paper: {PAPER_LENGTH})"]
    numbers += [_needed_text(model, needed[model], curves[model]) for model in needed]
    transformers = _some(curves, TRANSFORMERS, numbers)
    best = min(_some(curves, STATE_SPACE, numbers), key=lambda model: needed[model])
    # A state-space model that did not get there needs more than it has seen, and a transformer that was there when
    # first measured needs less: the ratio is at least this.
    exact = np.isfinite(needed[best])
    enough = needed[best] if exact else max(curve.x[-1] for curve in curves[best])
    ratios = {model: enough / needed[model] for model in transformers}
    bounds = {model: not exact or needed[model] == min(curve.x[0] for curve in curves[model]) for model in transformers}
    for model in transformers:
        numbers.append(f"{_name(best)} / {_name(model)}: {'at least ' if bounds[model] else ''}{ratios[model]:.3g}")
    small = [model for model in transformers if ratios[model] < FEWER]
    if small and all(bounds[model] for model in small):
        raise Missing(*numbers, "longer training or a smaller eval.every would tell")
    return not small, numbers


def lstm_does_not_learn(data: Data) -> Verdict:
    length, curves = _efficiency(data)
    curve = max(_need(curves, "lstm"), key=lambda curve: curve.y.max())
    numbers = [f"LSTM: at best {curve.y.max():.3f} on strings of length {length}, after {_count(curve.x[-1])} strings"]
    if length < PAPER_LENGTH:
        raise Missing(*numbers, f"the paper's strings have length {PAPER_LENGTH}")
    return bool(curve.y.max() < SOLVED), numbers


def solved_in_distribution(data: Data) -> Verdict:
    curves = _lengths(data, "copy")
    numbers, verdicts = [], []
    for model in _some(curves, TRANSFORMERS + RECURRENT, numbers):
        curve = curves[model]
        inside = curve.y[curve.x <= curve.train_max_length]
        if inside.size:
            verdicts.append(inside.min() >= SOLVED)
            numbers.append(f"{_name(model)}: lowest {inside.min():.3f} up to length {curve.train_max_length}")
    return _all(verdicts, numbers)


def recurrent_fall(data: Data) -> Verdict:
    curves = _lengths(data, "copy")
    numbers, verdicts = [], []
    for model in _some(curves, RECURRENT, numbers):
        curve = curves[model]
        inside, beyond = _inside(curve), _beyond(curve)
        if inside < SOLVED:
            numbers.append(f"{_name(model)}: {inside:.3f} in distribution, so that there is nothing to fall")
        elif beyond is not None:
            verdicts.append(curve.y[beyond:].max() <= NEAR_ZERO)
            numbers.append(f"{_name(model)}: {_at(curve, beyond)} and at most {curve.y[beyond:].max():.3f} from there")
    return _all(verdicts, numbers)


def transformers_decay_slowly(data: Data) -> Verdict:
    return _kept(_lengths(data, "copy"), TRANSFORMERS, _beyond, lambda share: share >= BADLY)


def hard_alibi_reaches(data: Data) -> Verdict:
    curve = _need(_lengths(data, "copy"), "hard_alibi")
    outside = curve.x > curve.train_max_length
    if not outside.any():
        raise Missing("Hard-ALiBi: nothing beyond the training maximum")
    lowest, reach = curve.y[outside].min(), curve.x[-1] / curve.train_max_length
    numbers = [f"Hard-ALiBi: lowest {lowest:.3f} from {curve.train_max_length} to {curve.x[-1]:.0f}"]
    if lowest >= SOLVED and reach < PAPER_REACH:
        raise Missing(*numbers, f"holds so far, to {reach:.3g} times the training maximum (paper: {PAPER_REACH})")
    return bool(lowest >= SOLVED), numbers


def suffix_transformers(data: Data) -> Verdict:
    return _each_n(data, "suffix_ngram", lambda curves: _kept(curves, TRANSFORMERS, _last, lambda kept: kept >= LITTLE))


def suffix_state_space(data: Data) -> Verdict:
    return _each_n(data, "suffix_ngram", lambda curves: _kept(curves, STATE_SPACE, _last, lambda kept: kept < BADLY))


def prefix_state_space(data: Data) -> Verdict:
    def judge(curves: dict[str, Curve]) -> Verdict:
        numbers, verdicts = [], []
        for model in _some(curves, STATE_SPACE, numbers):
            outside = _outside(curves[model], model)
            verdicts.append(outside.min() >= SOLVED)
            numbers.append(f"{_name(model)}: lowest {outside.min():.3f} beyond {curves[model].train_max_length}")
        return _all(verdicts, numbers)

    return _each_n(data, "prefix_ngram", judge)


def prefix_better(data: Data) -> Verdict:
    return _each_n(data, "prefix_ngram", lambda curves: _difference(curves, ("nope", "alibi"), lambda by: by > MARGIN))


def prefix_not_better(data: Data) -> Verdict:
    return _each_n(data, "prefix_ngram", lambda curves: _difference(curves, ("hard_alibi",), lambda by: by <= MARGIN))


def duplicates(data: Data) -> Verdict:
    """At the length nearest to the training maximum."""
    found = [panel for panel in panels(data) if panel.task == "duplicate_ngram" and panel.train_task == "copy"]
    series: dict[str, dict[int, float]] = {}
    for panel in found:
        for model, curve in _best(length_curves(data, panel, "string_accuracy")).items():
            if model in TRANSFORMERS:
                series.setdefault(model, {})[panel.n_gram] = _inside(curve)
    numbers, verdicts = [], []
    for model, accuracy in series.items():
        numbers.append(f"{_name(model)}: " + ", ".join(f"n={n} {accuracy[n]:.3f}" for n in sorted(accuracy)))
        low = [value for n, value in accuracy.items() if n <= HOLDS_TO_N]
        high = [value for n, value in accuracy.items() if n > HOLDS_TO_N]
        if HOLDS_TO_N in accuracy and high:
            verdicts.append(min(low) >= SOLVED and max(high) < SOLVED)
    return _all(verdicts, numbers or ["no copy-trained transformer was evaluated on duplicate_ngram"])


def _efficiency(data: Data) -> tuple[int, dict[str, list[Curve]]]:
    """Curves of the copy task at the training maximum, by model."""
    panel = Panel("copy", "copy", 0)
    length = efficiency_length(data, panel)
    curves: dict[str, list[Curve]] = {}
    if length is not None:
        for curve in efficiency_curves(data, panel, "string_accuracy", length):
            curves.setdefault(curve.model, []).append(curve)
    if not curves:
        raise Missing("no model was trained and evaluated on copy")
    return length, curves


def _examples_needed(curves: list[Curve]) -> float:
    """Training strings that the quickest configuration has seen when it first solves the length; infinite if never."""
    firsts = [curve.x[np.argmax(curve.y >= SOLVED)] for curve in curves if (curve.y >= SOLVED).any()]
    return float(min(firsts, default=np.inf))


def _needed_text(model: str, needed: float, curves: list[Curve]) -> str:
    if np.isfinite(needed):
        return f"{_name(model)}: {SOLVED} after {_count(needed)} strings"
    best = max(curves, key=lambda curve: curve.y.max())
    return f"{_name(model)}: at best {best.y.max():.3f} in {_count(best.x[-1])} strings"


def _lengths(data: Data, task: str, n_gram: int = 0) -> dict[str, Curve]:
    curves = _best(length_curves(data, Panel(task, task, n_gram), "string_accuracy"))
    if not curves:
        raise Missing(f"no model was trained and evaluated on {task}")
    return curves


def _best(curves: list[Curve]) -> dict[str, Curve]:
    """Of each model the curve that is best in distribution."""
    best: dict[str, Curve] = {}
    for curve in curves:
        if curve.model not in best or _inside(curve) > _inside(best[curve.model]):
            best[curve.model] = curve
    return best


def _each_n(data: Data, task: str, judge: Callable[[dict[str, Curve]], Verdict]) -> Verdict:
    """The claim must hold for each n that can be judged."""
    sizes = [panel.n_gram for panel in panels(data) if panel.task == task == panel.train_task]
    verdicts, numbers = [], []
    for n in sizes:
        try:
            holds, found = judge(_lengths(data, task, n))
            verdicts.append(holds)
        except Missing as missing:
            found = list(missing.args)
        numbers += [f"n={n}: {number}" for number in found]
    return _all(verdicts, numbers or [f"no model was trained and evaluated on {task}"])


def _kept(
    curves: dict[str, Curve], models: tuple[str, ...], where: Callable[[Curve], int | None],
    good: Callable[[float], bool],
) -> Verdict:
    """The share of the in-distribution accuracy that each model keeps at a point of its curve."""
    numbers, verdicts = [], []
    for model in _some(curves, models, numbers):
        curve = curves[model]
        point, inside = where(curve), _inside(curve)
        if inside < SOLVED:
            numbers.append(f"{_name(model)}: {inside:.3f} in distribution: not solved, left out")
        elif point is not None:
            verdicts.append(good(curve.y[point] / inside))
            numbers.append(f"{_name(model)}: {inside:.3f} in distribution, {_at(curve, point)}")
    return _all(verdicts, numbers)


def _difference(curves: dict[str, Curve], others: tuple[str, ...], good: Callable[[float], bool]) -> Verdict:
    """The best state-space model's mean accuracy beyond the training maximum, less that of each of `others`."""
    numbers, verdicts = [], []
    own = max(_outside(curves[model], model).mean() for model in _some(curves, STATE_SPACE, numbers))
    numbers.append(f"state-space model: mean {own:.3f} beyond the training maximum")
    for model in _some(curves, others, numbers):
        mean = _outside(curves[model], model).mean()
        verdicts.append(good(own - mean))
        numbers.append(f"{_name(model)}: mean {mean:.3f}")
    return _all(verdicts, numbers)


def _inside(curve: Curve) -> float:
    """Accuracy at the measured length nearest to the training maximum."""
    return float(curve.y[np.argmin(np.abs(curve.x - curve.train_max_length))])


def _beyond(curve: Curve) -> int | None:
    """The first measured length from JUST_BEYOND times the training maximum on."""
    found = np.flatnonzero(curve.x >= JUST_BEYOND * curve.train_max_length)
    return int(found[0]) if found.size else None


def _last(curve: Curve) -> int | None:
    return len(curve.x) - 1 if _beyond(curve) is not None else None


def _outside(curve: Curve, model: str) -> np.ndarray:
    found = curve.y[curve.x > curve.train_max_length]
    if not found.size:
        raise Missing(f"{_name(model)}: nothing beyond the training maximum")
    return found


def _all(verdicts: list[bool], numbers: list[str]) -> Verdict:
    if not verdicts:
        raise Missing(*(numbers or ["nothing at the lengths that it takes"]))
    return all(verdicts), numbers


def _some(curves: dict, models: tuple[str, ...], numbers: list[str]) -> list[str]:
    found = [model for model in models if model in curves]
    numbers += [f"{_name(model)}: not measured" for model in models if model not in curves]
    if not found:
        raise Missing(*numbers)
    return found


def _need(curves: dict, model: str):
    if model not in curves:
        raise Missing(f"{_name(model)} was not measured")
    return curves[model]


def _at(curve: Curve, point: int) -> str:
    return f"{curve.y[point]:.3f} at length {curve.x[point]:.0f}"


def _name(model: str) -> str:
    return style.model_style(model).label


def _count(value: float) -> str:
    return style.compact(value)
