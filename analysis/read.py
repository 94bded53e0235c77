"""A results file as pandas frames, also while a sweep writes it or after its writer was killed.

The layout is documented in src/results/format.h: five append-only tables of compound rows with fixed-size UTF-8
strings, and two root attributes.
"""

from __future__ import annotations

import ctypes
import os
import time
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

FORMAT_VERSION = 1

# Column -> kind of number, of every table. Times are Unix seconds, accuracies lie in 0..1, NaN is "not measured".
TABLES: dict[str, dict[str, str]] = {
    "runs": {
        "run": "int", "time": "float", "command": "text", "sweep_text": "text", "build": "text", "git_commit": "text",
        "hosts": "text", "workers": "int", "devices": "text", "versions": "text", "epoch": "int",
    },
    "jobs": {
        "job": "int", "id": "text", "model": "text", "task": "text", "train_min_length": "int",
        "train_max_length": "int", "seed": "int", "learning_rate": "float", "parameters": "int", "spec": "text",
    },
    "events": {
        "job": "int", "try": "int", "run": "int", "time": "float", "state": "text", "step": "int", "ranks": "int",
        "host": "text", "message": "text",
    },
    "evaluations": {
        "job": "int", "try": "int", "run": "int", "step": "int", "examples": "int", "task": "text", "n_gram": "int",
        "length": "int", "mode": "text", "n": "int", "string_accuracy": "float", "string_accuracy_std": "float",
        "string_accuracy_low": "float", "string_accuracy_high": "float", "char_accuracy": "float",
        "exact_match": "float", "f1": "float",
    },
    "training": {
        "job": "int", "try": "int", "run": "int", "step": "int", "examples": "int", "loss": "float",
        "learning_rate": "float", "grad_norm": "float", "tokens_per_second": "float",
    },
}

# Whoever is referred to is read after those who refer to it, so that a growing file never shows a row of a job that is
# not in `jobs`.
READING_ORDER = ("training", "evaluations", "events", "jobs", "runs")

# A writer needs a moment between creating the file and letting readers in.
OPEN_ATTEMPTS = 5
OPEN_PAUSE = 0.1  # seconds

# Of one block of a file that is being written: the pauses between them add up to 0.5 seconds.
READ_ATTEMPTS = 29


class ResultsError(Exception):
    """The file is missing, no results file, or of a format that is not known here. One line, meant for the user."""


@dataclass(frozen=True)
class Results:
    """A snapshot of a results file; the frames have the columns of TABLES."""

    path: Path
    name: str  # of the sweep
    format_version: int
    runs: pd.DataFrame
    jobs: pd.DataFrame
    events: pd.DataFrame
    evaluations: pd.DataFrame
    training: pd.DataFrame
    written: float  # Unix seconds at which the file last changed


def read_results(path: str | os.PathLike[str]) -> Results:
    """Reads everything. Throws ResultsError."""
    path = Path(path)
    _check_is_hdf5(path)
    written = path.stat().st_mtime
    try:
        with _open(path) as file:
            version, name = _root_attributes(file, path)
            frames = {table: _read_table(file, table, path) for table in READING_ORDER}
    except (OSError, KeyError, RuntimeError) as error:  # whatever h5py makes of the library's errors
        raise ResultsError(f"{path} cannot be read, it may be damaged: {_one_line(error)}") from error
    return Results(path=path, name=name, format_version=version, written=written, **frames)


def _check_is_hdf5(path: Path) -> None:
    try:
        with path.open("rb") as file:
            header, size = file.read(36), file.seek(0, os.SEEK_END)
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror or error}") from error
    if not header.startswith(b"\x89HDF\r\n\x1a\n"):
        raise ResultsError(f"{path} is no results file: it is not in the HDF5 format")
    # With SWMR the library reads a file that was cut short as if it were whole. Its header (superblock version 3) says
    # whether a writer has it open, or was killed with it, and where it ends otherwise.
    version, open_for_writing, end = header[8:9], header[11:12] != b"\0", int.from_bytes(header[28:36], "little")
    if version == b"\3" and not open_for_writing and size < end:
        raise ResultsError(f"{path} is incomplete: {size} of {end} bytes")


def _open(path: Path) -> h5py.File:
    """With SWMR first: the only way into a file that has a writer, or had one that was killed.

    No file locks: a reader's lock could refuse the writer of a sweep that is just starting.
    """
    for attempt in range(OPEN_ATTEMPTS):
        for swmr in (True, False):
            try:
                return _open_once(path, swmr)
            except OSError as error:
                reason = error
        if attempt + 1 < OPEN_ATTEMPTS:
            time.sleep(OPEN_PAUSE)
    raise ResultsError(f"{path} cannot be opened: {_one_line(reason)}")


def _open_once(path: Path, swmr: bool) -> h5py.File:
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_file_locking(False, True)
    if swmr:
        _limit_read_attempts(access)
    flags = h5py.h5f.ACC_RDONLY | (h5py.h5f.ACC_SWMR_READ if swmr else 0)
    return h5py.File(h5py.h5f.open(os.fsencode(path), flags, fapl=access))


def _limit_read_attempts(access: h5py.h5p.PropFAID) -> None:
    """A block whose checksum is wrong is read again, as its writer may be about to complete it: 100 times, with pauses
    that double, which is for ever if the file is damaged. h5py lacks this property, the library that it loaded has it.
    """
    library = ctypes.CDLL(h5py.h5p.__file__)
    if library.H5Pset_metadata_read_attempts(ctypes.c_int64(access.id), ctypes.c_uint(READ_ATTEMPTS)) < 0:
        raise OSError("HDF5 refused H5Pset_metadata_read_attempts")


def _root_attributes(file: h5py.File, path: Path) -> tuple[int, str]:
    if "format_version" not in file.attrs or "name" not in file.attrs:
        raise ResultsError(f"{path} is no results file: it lacks the attributes format_version and name")
    version = int(file.attrs["format_version"])
    if version != FORMAT_VERSION:
        raise ResultsError(f"{path} has format_version {version}; this program reads {FORMAT_VERSION}")
    name = file.attrs["name"]
    return version, name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _read_table(file: h5py.File, table: str, path: Path) -> pd.DataFrame:
    if not isinstance(file.get(table), h5py.Dataset):
        raise ResultsError(f"{path} is no results file: it has no table /{table}")
    _check_columns(file[table].dtype, table, path)
    rows = file[table][:]
    if "valid" in rows.dtype.names:
        rows = rows[rows["valid"] == 1]  # others were cut off halfway
    columns = {column: _column(rows[column], kind) for column, kind in TABLES[table].items()}
    return pd.DataFrame(columns)


def _check_columns(dtype: np.dtype, table: str, path: Path) -> None:
    """Columns that are not documented are ignored, those that are must be there and of their kind."""
    allowed = {"int": "iu", "float": "f", "text": "S"}
    for column, kind in TABLES[table].items():
        if column not in (dtype.names or ()):
            raise ResultsError(f"{path} is no results file: /{table} has no column {column}")
        if dtype[column].kind not in allowed[kind]:
            raise ResultsError(f"{path}: column {column} of /{table} is {dtype[column]}, not {kind}")


def _column(values: np.ndarray, kind: str) -> pd.Series:
    if kind == "text":
        return pd.Series([value.decode("utf-8", "replace") for value in values.tolist()], dtype="str")
    return pd.Series(values.astype(np.int64 if kind == "int" else np.float64))


def _one_line(error: Exception) -> str:
    return " ".join(str(error.args[0] if error.args else error).split())
