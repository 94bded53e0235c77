"""A live view of a sweep in the terminal, from its results file alone."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pandas as pd

from analysis import style
from analysis.curves import load
from analysis.figures import OVERVIEW_DPI, overview_figure, save
from analysis.read import Results, ResultsError, read_results
from analysis.views import (
    current_evaluations,
    current_training,
    is_over,
    is_pretrained,
    job_options,
    job_states,
)

STATES = ("running", "planned", "done", "failed", "stopped")
BAR = 20  # characters
QUIET = 60.0  # seconds without a new row after which the view says so
CLEAR, HIDE_CURSOR, SHOW_CURSOR = "\x1b[H\x1b[J", "\x1b[?25l", "\x1b[?25h"


@dataclass(frozen=True)
class Progress:
    """A job that is being trained; NaN where nothing has been logged yet."""

    label: str
    step: int
    steps: int
    loss: float
    accuracy: float  # string accuracy at `length`, the measured length nearest to the training maximum
    length: int
    tokens_per_second: float
    seconds_left: float


def follow(path: Path, every: float, once: bool, figure: Path | None, out: TextIO = sys.stdout) -> None:
    """Shows the sweep until it ends; in place on a terminal, as plain lines elsewhere. Throws ResultsError if the file
    cannot be read at the start; later trouble is shown and tried again."""
    terminal = out.isatty() and not once
    results = read_results(path)
    if terminal:
        out.write(HIDE_CURSOR)
    try:
        while True:
            out.write((CLEAR if terminal else "") + render(results, time.time(), _width(terminal)) + "\n")
            out.flush()
            if figure is not None:
                save(overview_figure(load(results)), figure, OVERVIEW_DPI)
            if once or is_over(results):
                return
            time.sleep(every)
            results = _read_again(path, results, out)
    except KeyboardInterrupt:
        out.write("\n")
    finally:
        if terminal:
            out.write(SHOW_CURSOR)


def _read_again(path: Path, last: Results, out: TextIO) -> Results:
    try:
        return read_results(path)
    except ResultsError as error:
        out.write(f"{error}\n")
        return last


def _width(terminal: bool) -> int:
    return shutil.get_terminal_size().columns if terminal else sys.maxsize


def render(results: Results, now: float, width: int = sys.maxsize) -> str:
    """The whole view at Unix time `now`, as lines of at most `width` characters."""
    states = job_states(results)
    jobs = progress(results, states, now)
    left = seconds_left(results, states, jobs, now)
    lines = [style.title_of(results.name), _summary(states) + _known(left, ", about {} left", duration)]
    if jobs:
        lines += ["", *_aligned([_cells(job) for job in jobs])]
    failed = states[states["state"] == "failed"]
    if len(failed):
        labels = job_labels(results)
        lines += ["", *(f"failed: {labels[row.job]}: {row.message}" for row in failed.itertuples())]
    remaining = int((~states["state"].isin(["done", "failed"])).sum())
    if is_over(results) and remaining:
        lines += ["", f"The run has ended; {remaining} of {len(states)} jobs are left: the same command goes on."]
    elif is_over(results):
        lines += ["", "The sweep has ended."]
    elif now - results.written > QUIET:
        lines += ["", f"Nothing was written for {duration(now - results.written)}: is the sweep still running?"]
    return "\n".join(_cut(line, width) for line in lines)


def _summary(states: pd.DataFrame) -> str:
    counts = states["state"].value_counts()
    parts = [f"{counts[state]} {state}" for state in STATES if counts.get(state, 0)]
    return f"{len(states)} job{'' if len(states) == 1 else 's'}: {', '.join(parts)}" if parts else "no jobs yet"


def progress(results: Results, states: pd.DataFrame, now: float) -> list[Progress]:
    """The running jobs, in the file's order. The pace is that of the current try, up to the file's last change."""
    labels, options = job_labels(results), job_options(results)
    training, evaluations = current_training(results), current_evaluations(results)
    total = _steps(results)
    found = []
    for row in states[states["state"] == "running"].itertuples():
        steps = int(total[row.Index])
        logged = training[training["job"] == row.job]
        last = logged.iloc[-1] if len(logged) else None
        measured = evaluations[evaluations["job"] == row.job]
        step = row.started_step if last is None else max(int(last["step"]), row.started_step)
        if is_pretrained(options[row.job]):
            step = len(measured)
        length, accuracy = _accuracy(measured, options[row.job])
        elapsed = min(now, results.written) - row.started
        pace = (step - row.started_step) / elapsed if elapsed > 0 else 0.0
        found.append(Progress(
            label=labels[row.job], step=step, steps=steps, length=length, accuracy=accuracy,
            loss=math.nan if last is None else float(last["loss"]),
            tokens_per_second=math.nan if last is None else float(last["tokens_per_second"]),
            seconds_left=(steps - step) / pace if pace > 0 else math.nan,
        ))
    return found


def seconds_left(results: Results, states: pd.DataFrame, running: list[Progress], now: float) -> float:
    """Of the whole sweep, if it goes on as in this run: a step of a job is taken to cost what it has parameters."""
    if is_over(results):
        return math.nan
    start, run = results.runs[["time", "run"]].iloc[-1]
    size, steps = results.jobs["parameters"], _steps(results)
    step = states["step"].copy()
    step[states["state"] == "running"] = [job.step for job in running]
    done = (size * (step - states["started_step"]))[(states["run"] == run) & states["state"].isin(["running", "done"])]
    left = (size * (steps - step).clip(lower=0))[states["state"].isin(["running", "planned"])]
    elapsed = min(now, results.written) - start
    return left.sum() * elapsed / done.sum() if done.sum() > 0 and elapsed > 0 else math.nan


def _steps(results: Results) -> pd.Series:
    """Of each job: the updates that its training has; of one that asks a pretrained model, its points."""

    def steps(options: dict) -> int:
        if is_pretrained(options):
            return len(options.get("eval.lengths", ()))
        return int(options.get("train.steps", 0)) * int(options.get("train.epochs", 1))

    options = job_options(results)
    return results.jobs["job"].map(lambda job: steps(options[job]))


def _accuracy(evaluations: pd.DataFrame, options: dict) -> tuple[int, float]:
    """On the trained task, at its last evaluation."""
    rows = evaluations[(evaluations["task"] == options["task.kind"]) & evaluations["string_accuracy"].notna()]
    if rows.empty:
        return 0, math.nan
    rows = rows[rows["step"] == rows["step"].max()]
    nearest = (rows["length"] - options["train.max_length"]).abs().idxmin()
    return int(rows.loc[nearest, "length"]), float(rows.loc[nearest, "string_accuracy"])


def job_labels(results: Results) -> dict[int, str]:
    """ "Mamba, lr 1e-4, copy, seed 2"; the options are those that tell jobs of one model apart."""
    variants = load(results).names
    return {
        job.job: ", ".join(filter(None, (
            style.model_style(job.model).label, variants[job.job], job.task.replace("_", " "), f"seed {job.seed}",
        )))
        for job in results.jobs.itertuples()
    }


def _cells(job: Progress) -> list[str]:
    share = min(job.step / job.steps, 1.0) if job.steps else 0.0
    full = int(share * BAR)
    return [
        job.label, "█" * full + "░" * (BAR - full), f"{job.step}/{job.steps}", _known(job.loss, "loss {:.3f}"),
        _known(job.accuracy, "right {:.3f} at " + str(job.length)),
        _known(job.tokens_per_second, "{} tokens/s", style.compact), _known(job.seconds_left, "{} left", duration),
    ]


def _known(value: float, text: str, shown: Callable[[float], object] = float) -> str:
    return "" if math.isnan(value) else text.format(shown(value))


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths) if width).rstrip() for row in rows]


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"


def duration(seconds: float) -> str:
    """3700 s as 1 h 01 min."""
    minutes, rest = divmod(int(round(seconds)), 60)
    if minutes < 1:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
