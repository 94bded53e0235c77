"""From the tidy table to curves: one per model and configuration, over lengths, examples seen or steps.

Several seeds of one configuration are one curve: their mean, with a band from the lowest to the highest. One seed alone
has as its band the 95 % Wilson interval over the strings measured, where the file has one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis import style
from analysis.read import Results
from analysis.views import configuration, current_training, differing, job_options, job_states, tidy_table

# Points of a loss curve: more logged steps than this are averaged in bins.
LOSS_POINTS = 150

# The first that a panel has is drawn where no metric was asked for.
METRIC_ORDER = ("f1", "exact_match", "string_accuracy", "char_accuracy")

SHUFFLED = "c4_copy_shuffled"  # what text_order = random makes of c4_copy here

BAND_OF_STRINGS, BAND_OF_SEEDS, NO_BAND = "strings", "seeds", ""


@dataclass(frozen=True)
class Panel:
    """What is plotted together: one task, as measured on models that were trained on one task."""

    train_task: str
    task: str
    n_gram: int

    def title(self) -> str:
        task = style.task_label(self.task, self.n_gram)
        if self.train_task in (self.task, ""):
            return task[:1].upper() + task[1:]
        return f"Trained on {self.train_task.replace('_', ' ')}: {task}"


@dataclass(frozen=True)
class Curve:
    model: str
    variant: str  # what tells it from the other curves of its model, "" if it is the only one
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray  # the band; NaN where there is none
    high: np.ndarray
    band: str  # BAND_OF_STRINGS, BAND_OF_SEEDS or NO_BAND
    seeds: int
    train_min_length: int
    train_max_length: int


@dataclass(frozen=True)
class Data:
    """Everything that is drawn: the tidy table and the training rows, both with a column `variant`."""

    name: str
    table: pd.DataFrame
    training: pd.DataFrame
    names: dict[int, str]  # of each job, its variant
    variants: dict[str, list[str]]  # of each model, in the order of their options' values
    finished: frozenset[int]  # jobs that will not be trained further
    jobs: int


def load(results: Results, mode: str | None = None) -> Data:
    """`mode` is teacher_forced or greedy; by default the former, of jobs that have any."""
    results = _shuffled_apart(results)
    table = _of_mode(tidy_table(results), mode)
    options = job_options(results)
    names, order = _variants(results, table, options)
    jobs = results.jobs[["job", "model"]].assign(train_task=results.jobs["task"], n_gram=_key_sizes(results, options))
    training = current_training(results).merge(jobs, on="job")
    states = job_states(results)
    return Data(
        name=results.name,
        table=table.assign(variant=table["job"].map(names)),
        training=training.assign(variant=training["job"].map(names)),
        names=names,
        variants=order,
        finished=frozenset(states.loc[states["state"] == "done", "job"]),
        jobs=len(results.jobs),
    )


def of_finished_jobs(data: Data) -> Data:
    """Without what jobs measured that will be trained further."""
    return replace(data, table=data.table[data.table["job"].isin(data.finished)],
                   training=data.training[data.training["job"].isin(data.finished)])


def _of_mode(table: pd.DataFrame, mode: str | None) -> pd.DataFrame:
    forced = table["mode"] == "teacher_forced"
    if mode is None:
        return table[forced | ~table["job"].isin(table.loc[forced, "job"])]
    return table[table["mode"] == mode]


def _shuffled_apart(results: Results) -> Results:
    """Shuffled text is copied as another task, so that it has a panel of its own."""
    of_jobs = job_options(results).items()
    shuffled = [job for job, options in of_jobs if options.get("pretrained.text_order") == "random"]

    def renamed(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(task=rows["task"].mask(rows["job"].isin(shuffled) & (rows["task"] == "c4_copy"), SHUFFLED))

    return replace(results, jobs=renamed(results.jobs), evaluations=renamed(results.evaluations))


def _key_sizes(results: Results, options: dict[int, dict[str, Any]]) -> list[int]:
    """The n of the n-grams that each job is trained on, 0 where its task has none."""
    return [int(options[job].get("task.n_gram", 0)) for job in results.jobs["job"]]


def _variants(
    results: Results, table: pd.DataFrame, options: dict[int, dict[str, Any]]
) -> tuple[dict[int, str], dict[str, list[str]]]:
    """Names each job by the options that tell curves of one model apart, in any panel or in the losses of one task."""
    configurations = {job: configuration(values) for job, values in options.items()}
    groups = [group["job"].unique() for _, group in table.groupby(["train_task", "task", "n_gram", "model"])]
    jobs = results.jobs.assign(n_gram=_key_sizes(results, options))
    groups += [group["job"].unique() for _, group in jobs.groupby(["task", "n_gram", "model"])]
    per_model: dict[str, list[str]] = {}
    models = results.jobs.set_index("job")["model"]
    for group in groups:
        names = per_model.setdefault(models[group[0]], [])
        names += [name for name in differing([configurations[job] for job in group]) if name not in names]

    labels: dict[int, str] = {}
    keys: dict[str, dict[str, tuple]] = {}
    for job, values in configurations.items():
        told = [(name, values.get(name)) for name in per_model.get(models[job], []) if values.get(name) is not None]
        labels[job] = ", ".join(style.option_label(name, value) for name, value in told)
        keys.setdefault(models[job], {})[labels[job]] = tuple(_sortable(value) for _, value in told)
    return labels, {model: sorted(found, key=found.__getitem__) for model, found in keys.items()}


def _sortable(value: Any) -> tuple[int, float, str]:
    """Numbers by size, before texts."""
    return (0, float(value), "") if isinstance(value, (int, float)) else (1, 0.0, str(value))


def panels(data: Data) -> list[Panel]:
    """The trained task first, then the others, each with growing n."""
    keys = data.table[["train_task", "task", "n_gram"]].drop_duplicates().itertuples(index=False)
    return sorted((Panel(*key) for key in keys), key=lambda p: (p.train_task, p.train_task != p.task, p.task, p.n_gram))


def trained_panels(data: Data) -> list[Panel]:
    """Those of models that were trained here."""
    return [panel for panel in panels(data) if (_rows(data, panel)["examples"] > 0).any()]


def metric_of(data: Data, panel: Panel, metric: str | None) -> str:
    rows = _rows(data, panel)
    return metric or next((name for name in METRIC_ORDER if rows[name].notna().any()), METRIC_ORDER[0])


def length_curves(data: Data, panel: Panel, metric: str) -> list[Curve]:
    """Accuracy against string length, each job at its last measured step."""
    rows = _measured(data, panel, metric)
    rows = rows[rows["step"] == rows.groupby("job")["step"].transform("max")]
    return [_over_seeds(group, "length", "length", metric, frozenset()) for group in _groups(rows)]


def efficiency_curves(data: Data, panel: Panel, metric: str, length: int) -> list[Curve]:
    """Accuracy on strings of one length against whole training strings seen; the first step, which saw none, is left
    out. Seeds are matched by step (they saw slightly different numbers of strings: the mean is shown)."""
    rows = _measured(data, panel, metric)
    rows = rows[(rows["length"] == length) & (rows["examples"] > 0)]
    return [_over_seeds(group, "step", "examples", metric, data.finished) for group in _groups(rows)]


def efficiency_length(data: Data, panel: Panel, asked: int | None = None) -> int | None:
    """The measured length that is nearest to `asked`, by default to the training maximum."""
    rows = _rows(data, panel)
    if rows.empty:
        return None
    target = asked if asked is not None else int(rows["train_max_length"].max())
    lengths = rows["length"].unique()
    return int(min(lengths, key=lambda length: (abs(length - target), length)))


def loss_panels(data: Data) -> list[Panel]:
    keys = data.training[["train_task", "n_gram"]].drop_duplicates().itertuples(index=False)
    return sorted((Panel(task, task, n_gram) for task, n_gram in keys), key=lambda p: (p.task, p.n_gram))


def loss_curves(data: Data, panel: Panel) -> list[Curve]:
    """Training loss against step, averaged over loss_bin() steps."""
    width = loss_bin(data, panel)
    rows = _losses(data, panel)
    rows = rows if width == 1 else _binned(rows, width)
    return [_over_seeds(group, "step", "step", "loss", frozenset()) for group in _groups(rows)]


def loss_bin(data: Data, panel: Panel) -> int:
    """Steps that one point of a loss curve stands for; 1: every logged step is a point of its own."""
    steps = _losses(data, panel)["step"]
    return 1 if steps.nunique() <= LOSS_POINTS else -(-int(steps.max()) // LOSS_POINTS)


def _losses(data: Data, panel: Panel) -> pd.DataFrame:
    rows = data.training
    chosen = (rows["train_task"] == panel.task) & (rows["n_gram"] == panel.n_gram)
    return rows[chosen & rows["loss"].notna()]


def _binned(rows: pd.DataFrame, width: int) -> pd.DataFrame:
    """A row per job and bin, at the middle of the steps in it."""
    means = rows.assign(bin=(rows["step"] - 1) // width).groupby(["job", "bin"], as_index=False).agg(
        {"model": "first", "variant": "first", "loss": "mean"}
    )
    return means.assign(step=means["bin"] * width + (width + 1) / 2)


def _rows(data: Data, panel: Panel) -> pd.DataFrame:
    table = data.table
    chosen = (table["train_task"] == panel.train_task) & (table["task"] == panel.task)
    return table[chosen & (table["n_gram"] == panel.n_gram)]


def _measured(data: Data, panel: Panel, metric: str) -> pd.DataFrame:
    rows = _rows(data, panel)
    return rows[rows[metric].notna()]


def _groups(rows: pd.DataFrame) -> list[pd.DataFrame]:
    groups = [group for _, group in rows.groupby(["model", "variant"], sort=False)]
    return sorted(groups, key=lambda group: style.model_order(group["model"].iloc[0]))


def _over_seeds(rows: pd.DataFrame, key: str, x: str, metric: str, finished: frozenset[int]) -> Curve:
    """One curve of the jobs in `rows`, which differ by their seed alone: a point for each value of `key`."""
    values = rows.pivot_table(index=key, columns="job", values=metric, aggfunc="last")
    for job in finished.intersection(values.columns):
        values[job] = values[job].ffill()  # training that ended early keeps what it had reached
    seeds = values.shape[1]
    low, high, band = _band(rows, values, key, metric)
    first = rows.iloc[0]
    return Curve(
        model=first["model"], variant=first["variant"], seeds=seeds, band=band,
        x=rows.groupby(key)[x].mean().to_numpy(float), y=values.mean(axis=1).to_numpy(float), low=low, high=high,
        train_min_length=int(first.get("train_min_length", 0)), train_max_length=int(first.get("train_max_length", 0)),
    )


def _band(
    rows: pd.DataFrame, values: pd.DataFrame, key: str, metric: str
) -> tuple[np.ndarray, np.ndarray, str]:
    if values.shape[1] > 1:
        return values.min(axis=1).to_numpy(float), values.max(axis=1).to_numpy(float), BAND_OF_SEEDS
    if metric in ("string_accuracy", "exact_match"):
        interval = rows.groupby(key)[["string_accuracy_low", "string_accuracy_high"]].last()
        if interval.notna().to_numpy().all():
            return interval.iloc[:, 0].to_numpy(float), interval.iloc[:, 1].to_numpy(float), BAND_OF_STRINGS
    nothing = np.full(len(values), np.nan)
    return nothing, nothing, NO_BAND
