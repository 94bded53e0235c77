"""Writes small results files with h5py, in the layout that src/results/format.h documents."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np

START = 1_700_000_000.0  # Unix seconds
NAN = math.nan


def _text(size: int) -> np.dtype:
    return h5py.string_dtype("utf-8", size)


VALID = ("valid", "u1")
DTYPES = {
    "runs": np.dtype([
        ("run", "<i4"), ("time", "<f8"), ("command", _text(2048)), ("sweep_text", _text(16384)), ("build", _text(256)),
        ("git_commit", _text(64)), ("hosts", _text(4096)), ("workers", "<i4"), ("devices", _text(1024)),
        ("versions", _text(512)), ("epoch", "<i8"), VALID,
    ]),
    "jobs": np.dtype([
        ("job", "<i4"), ("id", _text(32)), ("model", _text(32)), ("task", _text(32)), ("train_min_length", "<i4"),
        ("train_max_length", "<i4"), ("seed", "<i8"), ("learning_rate", "<f8"), ("parameters", "<i8"),
        ("spec", _text(8192)), VALID,
    ]),
    "events": np.dtype([
        ("job", "<i4"), ("try", "<i4"), ("run", "<i4"), ("time", "<f8"), ("state", _text(16)), ("step", "<i8"),
        ("ranks", "<i4"), ("host", _text(128)), ("message", _text(1024)), VALID,
    ]),
    "evaluations": np.dtype([
        ("job", "<i4"), ("try", "<i4"), ("run", "<i4"), ("step", "<i8"), ("examples", "<i8"), ("task", _text(32)),
        ("n_gram", "<i4"), ("length", "<i4"), ("mode", _text(16)), ("n", "<i8"), ("string_accuracy", "<f8"),
        ("string_accuracy_std", "<f8"), ("string_accuracy_low", "<f8"), ("string_accuracy_high", "<f8"),
        ("char_accuracy", "<f8"), ("exact_match", "<f8"), ("f1", "<f8"), VALID,
    ]),
    "training": np.dtype([
        ("job", "<i4"), ("try", "<i4"), ("run", "<i4"), ("step", "<i8"), ("examples", "<i8"), ("loss", "<f8"),
        ("learning_rate", "<f8"), ("grad_norm", "<f8"), ("tokens_per_second", "<f8"), VALID,
    ]),
}


def wilson(right: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share `right` of n, written out from the quadratic that defines it."""
    z = 1.959964
    a, b, c = n + z * z, -(2 * n * right + z * z), n * right * right
    root = math.sqrt(b * b - 4 * a * c)
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def create(path: Path, name: str = "length-generalisation", version: int = 1, libver: str = "v110") -> h5py.File:
    """An empty results file, open for writing."""
    file = h5py.File(path, "w", libver=libver)
    file.attrs.create("format_version", version, dtype="<i4")
    file.attrs.create("name", name.encode(), dtype=_text(256))
    for table, dtype in DTYPES.items():
        file.create_dataset(table, (0,), maxshape=(None,), chunks=(16,), dtype=dtype)
    return file


MEASURED = {
    "string_accuracy", "string_accuracy_std", "string_accuracy_low", "string_accuracy_high", "char_accuracy",
    "exact_match", "f1", "loss", "grad_norm", "tokens_per_second",
}


def make_row(table: str, valid: bool = True, **values: Any) -> np.ndarray:
    """One row; what is not given is 0 or empty, and a measurement that is not given is NaN."""
    row = np.zeros(1, DTYPES[table])
    unknown = set(values) - set(row.dtype.names)
    assert not unknown, f"no such columns: {unknown}"
    for column in MEASURED.intersection(row.dtype.names):
        row[column] = NAN
    for column, value in values.items():
        row[column] = value.encode() if isinstance(value, str) else value
    row["valid"] = valid
    return row


def append(file: h5py.File, table: str, rows: np.ndarray) -> None:
    dataset = file[table]
    dataset.resize(len(dataset) + len(rows), axis=0)
    dataset[-len(rows):] = rows


class Sweep:
    """Collects the rows that a sweep would write, in its order."""

    def __init__(self, path: Path, name: str = "length-generalisation") -> None:
        self.path = path
        self.name = name
        self.count = 0
        self.rows: dict[str, list[np.ndarray]] = {table: [] for table in DTYPES}
        self.run(0)

    def add(self, table: str, **values: Any) -> None:
        self.rows[table].append(make_row(table, **values))

    def run(self, run: int, time: float = START) -> None:
        self.add("runs", run=run, time=time, command="recite sweep", workers=2, epoch=run + 1)

    def job(
        self, model: str, task: str = "copy", seed: int = 1, train: tuple[int, int] = (5, 50), rate: float = 1e-4,
        steps: int = 1000, n_gram: int = 0, parameters: int = 1000, **model_options: Any,
    ) -> int:
        spec = {
            "task": {"kind": task, "vocab_size": 26, "n_gram": n_gram},
            "model": {"architecture": model, "layers": 2, **model_options},
            "train": {"seed": seed, "steps": steps, "epochs": 1, "learning_rate": rate, "min_length": train[0],
                      "max_length": train[1]},
            "eval": {"every": 500, "lengths": [10, 20]}, "run": {"device": "auto"}, "ranks": 1,
        }
        job, self.count = self.count, self.count + 1
        self.add("jobs", job=job, id=f"{job:016x}", model=model, task=task, train_min_length=train[0],
               train_max_length=train[1], seed=seed, learning_rate=rate, parameters=parameters, spec=json.dumps(spec))
        self.event(job, "planned", attempt=0, time=START)
        return job

    def pretrained(
        self, model: str, task: str, right: dict[int, float], f1: dict[int, float] | None = None,
        order: str = "standard", n: int = 96, seed: int = 0,
    ) -> int:
        """A job that asked a pretrained model, with its points: exact match, and F1 of squad, by length."""
        spec = {
            "task": {"kind": task}, "model": {"architecture": "rope"}, "train": {"steps": 2000, "precision": "bf16"},
            "pretrained": {"model": f"models/{model}", "text_order": order}, "folder": {"parameters": 5},
            "eval": {"lengths": list(right), "seed": seed}, "run": {"device": "cpu"}, "ranks": 1,
        }
        job, self.count = self.count, self.count + 1
        self.add("jobs", job=job, id=f"{job:016x}", model=model, task=task, seed=seed, learning_rate=NAN, parameters=5,
                 spec=json.dumps(spec))
        self.event(job, "planned", attempt=0, time=START)
        for length, value in right.items():
            low, high = wilson(value, n)
            self.add("evaluations", **{"try": 1}, job=job, task=task, length=length, mode="greedy",
                     n=0 if math.isnan(value) else n, string_accuracy=value, exact_match=value,
                     string_accuracy_low=low, string_accuracy_high=high, f1=f1[length] if f1 else NAN)
        return job

    def event(
        self, job: int, state: str, attempt: int = 1, time: float = START, step: int = 0, message: str = "",
        run: int = 0,
    ) -> None:
        self.add("events", **{"try": attempt}, job=job, run=run, time=time, state=state, step=step, ranks=1,
               host="node1", message=message)

    def evaluation(
        self, job: int, length: int, right: float, step: int = 1000, examples: int | None = None, task: str = "copy",
        n_gram: int = 0, attempt: int = 1, n: int = 100, mode: str = "teacher_forced", char: float | None = None,
    ) -> None:
        low, high = wilson(right, n)
        self.add("evaluations", **{"try": attempt}, job=job, step=step, task=task, n_gram=n_gram,
               examples=8 * step if examples is None else examples, length=length, mode=mode, n=n,
               string_accuracy=right, string_accuracy_std=0.01, string_accuracy_low=low, string_accuracy_high=high,
               char_accuracy=right ** 0.1 if char is None else char)

    def training(self, job: int, step: int, loss: float, attempt: int = 1, speed: float = 5000.0) -> None:
        self.add("training", **{"try": attempt}, job=job, step=step, examples=8 * step, loss=loss,
               learning_rate=1e-4, grad_norm=1.0, tokens_per_second=speed)

    def write(self) -> Path:
        with create(self.path, self.name) as file:
            for table, rows in self.rows.items():
                if rows:
                    append(file, table, np.concatenate(rows))
        return self.path
