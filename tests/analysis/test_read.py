"""Reading: values, tolerance, errors, and files that are being written or whose writer was killed."""

import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from results_file import DTYPES, START, Sweep, append, create, make_row

from analysis.read import TABLES, ResultsError, read_results

# Writes rows for ever, one job and then one evaluation of it, in SWMR mode.
WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from results_file import append, create, make_row
file = create(sys.argv[2])
append(file, "runs", make_row("runs", run=0))
file.flush()
file.swmr_mode = True
job = 0
while True:
    append(file, "jobs", make_row("jobs", job=job, id=f"{job:016x}", model="rope", task="copy", spec="{}"))
    file["jobs"].flush()
    append(file, "evaluations", make_row("evaluations", job=job, task="copy", length=job + 1, string_accuracy=0.5))
    file["evaluations"].flush()
    if job == 20:
        print("ready", flush=True)
    job += 1
"""


def test_every_documented_column_arrives_with_its_value(results_path: Path) -> None:
    results = read_results(results_path)
    assert (results.name, results.format_version) == ("length-generalisation", 1)
    for table, columns in TABLES.items():
        assert list(getattr(results, table).columns) == list(columns)
    job = results.jobs.iloc[3]
    assert (job["model"], job["task"], job["seed"], job["learning_rate"]) == ("mamba", "copy", 2, 1e-4)
    event = results.events.iloc[-1]
    assert (event["job"], event["state"], event["time"], event["host"]) == (-1, "done", START + 120, "node1")
    assert results.evaluations["f1"].isna().all()


def test_the_layout_of_the_tests_is_the_documented_one() -> None:
    for table, columns in TABLES.items():
        assert list(DTYPES[table].names) == [*columns, "valid"]


def test_text_is_utf8(tmp_path: Path) -> None:
    with create(tmp_path / "results.h5", name="Länge") as file:
        append(file, "events", make_row("events", message="größer als 50 – zu lang"))
    results = read_results(tmp_path / "results.h5")
    assert results.name == "Länge"
    assert results.events["message"].tolist() == ["größer als 50 – zu lang"]


def test_rows_that_were_not_written_whole_are_dropped(sweep: Sweep) -> None:
    before = len(sweep.rows["evaluations"])
    sweep.add("evaluations", valid=False, job=0, length=77)
    results = read_results(sweep.write())
    assert len(results.evaluations) == before
    assert 77 not in results.evaluations["length"].to_numpy()


def _rewrite(path: Path, table: str, dtype: np.dtype) -> None:
    """Replaces a table by one of the columns of `dtype`."""
    with h5py.File(path, "r+") as file:
        rows = file[table][:]
        del file[table]
        changed = np.zeros(len(rows), dtype)
        for column in set(dtype.names) & set(rows.dtype.names):
            changed[column] = rows[column]
        file.create_dataset(table, data=changed, maxshape=(None,))


def test_columns_that_are_not_documented_are_ignored(results_path: Path) -> None:
    expected = read_results(results_path).training
    _rewrite(results_path, "training", np.dtype([("extra", "f4"), *DTYPES["training"].descr]))
    assert read_results(results_path).training.equals(expected)


def test_a_column_that_lacks_is_named(results_path: Path) -> None:
    _rewrite(results_path, "training", np.dtype([field for field in DTYPES["training"].descr if field[0] != "loss"]))
    with pytest.raises(ResultsError, match="/training has no column loss"):
        read_results(results_path)


def test_a_column_of_another_kind_is_named(results_path: Path) -> None:
    fields = [(name, "f8" if name == "step" else kind) for name, kind in DTYPES["training"].descr]
    _rewrite(results_path, "training", np.dtype(fields))
    with pytest.raises(ResultsError, match="column step of /training is float64, not int"):
        read_results(results_path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="nothing.h5: No such file"):
        read_results(tmp_path / "nothing.h5")


def test_text_file(tmp_path: Path) -> None:
    path = tmp_path / "results.h5"
    path.write_text("step,loss\n1,2\n")
    with pytest.raises(ResultsError, match="no results file: it is not in the HDF5 format"):
        read_results(path)


def test_other_hdf5_file(tmp_path: Path) -> None:
    path = tmp_path / "results.h5"
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(ResultsError, match="lacks the attributes format_version and name"):
        read_results(path)


@pytest.mark.parametrize("kept, words", [(20, "cannot be"), (100, "is incomplete: 100 of")])
def test_cut_file(results_path: Path, kept: int, words: str) -> None:
    """Says so soon: the rule of the library is to read a damaged block again for days."""
    results_path.write_bytes(results_path.read_bytes()[:kept])
    start = time.monotonic()
    with pytest.raises(ResultsError, match=words):
        read_results(results_path)
    assert time.monotonic() - start < 30


def test_file_of_which_the_end_is_missing(results_path: Path) -> None:
    """All tables can be opened, and the library reads what is there."""
    whole = results_path.read_bytes()
    results_path.write_bytes(whole[:-1000])
    with pytest.raises(ResultsError, match=f"is incomplete: {len(whole) - 1000} of {len(whole)} bytes"):
        read_results(results_path)


def test_damaged_file(results_path: Path) -> None:
    content = bytearray(results_path.read_bytes())
    header = content.index(b"OHDR")  # of the root group; its checksum no longer fits
    content[header + 8] ^= 1
    results_path.write_bytes(content)
    with pytest.raises(ResultsError, match="cannot be read, it may be damaged: .*checksum"):
        read_results(results_path)


def test_table_that_lacks(results_path: Path) -> None:
    with h5py.File(results_path, "r+") as file:
        del file["events"]
    with pytest.raises(ResultsError, match="it has no table /events"):
        read_results(results_path)


def test_unknown_format_version(tmp_path: Path) -> None:
    create(tmp_path / "results.h5", version=7).close()
    with pytest.raises(ResultsError, match="has format_version 7; this program reads 1"):
        read_results(tmp_path / "results.h5")


def test_file_in_the_oldest_format_of_hdf5(tmp_path: Path) -> None:
    create(tmp_path / "results.h5", libver="earliest").close()
    assert read_results(tmp_path / "results.h5").jobs.empty


@pytest.fixture
def writer(tmp_path: Path):
    """A process that writes to live.h5 all the time."""
    path = tmp_path / "live.h5"
    command = [sys.executable, "-c", WRITER, str(Path(__file__).parent), str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    yield process, path
    process.kill()
    process.wait()
    process.stdout.close()


def _check_rows(path: Path) -> int:
    results = read_results(path)
    jobs, evaluations = results.jobs["job"].tolist(), results.evaluations
    assert jobs == list(range(len(jobs)))
    assert (results.jobs["model"] == "rope").all()
    assert evaluations["length"].tolist() == [job + 1 for job in range(len(evaluations))]
    assert set(evaluations["job"]) <= set(jobs)
    return len(evaluations)


def test_reading_while_another_process_writes(writer) -> None:
    process, path = writer
    with pytest.raises(OSError):  # a plain open is refused: the writer has the file
        h5py.File(path, "r", locking=False)
    counts = [_check_rows(path) for _ in range(8)]
    assert process.poll() is None
    assert counts[0] >= 20 and counts == sorted(counts) and counts[-1] > counts[0]


def test_reading_after_the_writer_was_killed(writer) -> None:
    process, path = writer
    process.send_signal(signal.SIGKILL)
    process.wait()
    count = _check_rows(path)
    assert count >= 20 and _check_rows(path) == count


def test_not_measured_is_nan(results_path: Path) -> None:
    assert math.isnan(read_results(results_path).evaluations["exact_match"].iloc[0])
