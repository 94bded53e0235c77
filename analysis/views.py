"""What the rows of a results file mean: the rows that count, the states of jobs, what tells jobs apart."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from analysis.read import Results

# The columns of the tidy table, before those that depend on the grid.
TABLE_COLUMNS = (
    "job", "id", "model", "train_task", "seed", "learning_rate", "parameters", "train_min_length", "train_max_length",
    "task", "n_gram", "length", "mode", "step", "examples", "n", "string_accuracy", "string_accuracy_std",
    "string_accuracy_low", "string_accuracy_high", "char_accuracy", "exact_match", "f1", "try", "run",
)

# Of a job's specification, what decides the weights and the prompts, and so what can tell two curves apart.
CONFIGURATION = ("task.", "model.", "train.", "eval.stop_", "pretrained.")
SEED = "train.seed"

# Options that the table has as columns already.
NAMED_OPTIONS = {
    "model.architecture": "model", "task.kind": "train_task", "train.seed": "seed",
    "train.learning_rate": "learning_rate", "train.min_length": "train_min_length",
    "train.max_length": "train_max_length",
}

ENDED = ("done", "failed", "stopped", "lost")


def current_evaluations(results: Results) -> pd.DataFrame:
    """For each (job, step, task, n_gram, length, mode) the row of the highest try, then the last."""
    return _of_highest_try(results.evaluations, ["job", "step", "task", "n_gram", "length", "mode"])


def current_training(results: Results) -> pd.DataFrame:
    """For each (job, step) the row of the highest try, then the last."""
    return _of_highest_try(results.training, ["job", "step"])


def _of_highest_try(rows: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    return rows.sort_values("try", kind="stable").drop_duplicates(key, keep="last").sort_values(key, ignore_index=True)


def job_states(results: Results) -> pd.DataFrame:
    """One row per job: job, state, step, message, tries, run, started.

    The state is that of the job's last event, except that a job which is lost, or running in a run that has ended, is
    `planned`: it will be run again. `started` is the time (Unix seconds) of its last `running` event, `started_step`
    the step at which that try began; NaN and 0 if it never ran.
    """
    events = results.events[results.events["job"] >= 0]
    last = events.drop_duplicates("job", keep="last").set_index("job")
    running = events[events["state"] == "running"].drop_duplicates("job", keep="last").set_index("job")
    jobs = results.jobs["job"]
    states = pd.DataFrame({
        "job": jobs,
        "state": jobs.map(last["state"]).fillna("planned"),
        "step": jobs.map(last["step"]).fillna(0).astype(int),
        "message": jobs.map(last["message"]).fillna(""),
        "tries": jobs.map(events.groupby("job")["try"].max()).fillna(0).astype(int),
        "run": jobs.map(last["run"]).fillna(-1).astype(int),
        "started": jobs.map(running["time"]),
        "started_step": jobs.map(running["step"]).fillna(0).astype(int),
    })
    interrupted = (states["state"] == "running") & ~states["run"].isin(_live_runs(results))
    states.loc[interrupted | (states["state"] == "lost"), "state"] = "planned"
    return states


def _live_runs(results: Results) -> list[int]:
    """At most one: the last run, unless it said that it ended. One that was killed says nothing."""
    if results.runs.empty:
        return []
    run = int(results.runs["run"].max())
    events = results.events
    ended = ((events["job"] < 0) & (events["run"] == run) & events["state"].isin(ENDED)).any()
    return [] if ended else [run]


def is_over(results: Results) -> bool:
    """Nothing will be written any more, as far as the file says."""
    return not _live_runs(results)


def job_options(results: Results) -> dict[int, dict[str, Any]]:
    """For each job its resolved options, as "train.learning_rate" -> 1e-4."""
    return {int(job.job): _options(job) for job in results.jobs.itertuples()}


def _options(job: Any) -> dict[str, Any]:
    """The specification's, or at least what the job's columns say if it cannot be parsed."""
    options = {
        "model.architecture": job.model, "task.kind": job.task, "train.seed": job.seed,
        "train.learning_rate": job.learning_rate, "train.min_length": job.train_min_length,
        "train.max_length": job.train_max_length,
    }
    try:
        spec = json.loads(job.spec)
    except json.JSONDecodeError:
        spec = {}
    if isinstance(spec, dict):
        options = {**_flatten(spec), **options}
    return options


def is_pretrained(options: dict[str, Any]) -> bool:
    """The job asks a model of a folder, and trains nothing."""
    return bool(options.get("pretrained.model"))


def _flatten(spec: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in spec.items():
        if isinstance(value, dict):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = tuple(value) if isinstance(value, list) else value
    return flat


def configuration(options: dict[str, Any]) -> dict[str, Any]:
    """What tells one curve from another: the options that decide the weights, less the seed."""
    return {name: value for name, value in options.items() if name.startswith(CONFIGURATION) and name != SEED}


def differing(configurations: list[dict[str, Any]]) -> list[str]:
    """The options in which these differ, in the order of their first appearance."""
    names = list(dict.fromkeys(name for options in configurations for name in options))
    return [name for name in names if len({repr(options.get(name)) for options in configurations}) > 1]


def tidy_table(results: Results) -> pd.DataFrame:
    """One row per current evaluation with its job, and a column for each further option in which jobs differ."""
    jobs = results.jobs.rename(columns={"task": "train_task"}).drop(columns="spec")
    table = current_evaluations(results).merge(jobs, on="job", how="inner", validate="many_to_one")
    table = table[list(TABLE_COLUMNS)]
    options = job_options(results)
    configurations = [configuration(job) for job in options.values()]
    for name in differing(configurations):
        if name not in NAMED_OPTIONS:
            table[name] = table["job"].map({job: _cell(values.get(name)) for job, values in options.items()})
    return table


def _cell(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else value
