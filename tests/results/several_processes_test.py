"""A results file among several processes: writers that are killed, that meet, and readers that come and go.

RECITE_RESULTS_PROCESS names the program of results_process.cpp; RECITE_KILL_ROUNDS the number of kills (default 15).
"""

import json
import os
import random
import resource
import signal
import subprocess
import threading
import time

import h5py
import numpy as np
import pytest

PROCESS = os.environ["RECITE_RESULTS_PROCESS"]
KILL_ROUNDS = int(os.environ.get("RECITE_KILL_ROUNDS", "15"))
TABLES = ("jobs", "events", "evaluations", "training")
NUMBER = {"jobs": "job", "events": "step", "evaluations": "examples", "training": "step"}


@pytest.fixture
def start():
    """Starts a process; whatever still runs at the end of the test is killed."""
    started = []

    def start_process(*arguments):
        command = [PROCESS, *map(str, arguments)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start_process
    for process in started:
        process.kill()
        process.wait()


def order(process, *orders):
    """Sends orders to an obedient process, and waits until it has done each."""
    for text in orders:
        process.stdin.write(text + "\n")
        process.stdin.flush()
        while (line := process.stdout.readline()) != "did 0\n":
            assert line, process.stderr.read()


def acknowledged(output):
    """The highest number that a writer said of each table, -1 for none; a line cut by the kill does not count."""
    highest = dict.fromkeys(TABLES, -1)
    for line in output.splitlines(keepends=True):
        if line.endswith("\n"):
            table, number = line.split()
            if table in highest:
                highest[table] = int(number)
    return highest


def counts_by_cpp(path):
    done = subprocess.run([PROCESS, "check", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def open_live(path):
    """The file, also when the first attempt falls into the moment in which its writer closes it (results/format.h)."""
    try:
        return h5py.File(path, "r", swmr=True)
    except OSError as error:
        assert "truncated" in str(error)
        return h5py.File(path, "r", swmr=True)


def counts_by_h5py(path):
    """The valid rows of each table, which must be numbered 0, 1, 2, ... without a gap or a double."""
    counts = {}
    with open_live(path) as file:
        assert file.attrs["format_version"] == 1
        for table in TABLES:
            rows = file[table][:]
            assert np.all(rows["valid"][:-1] == 1), "only the last row may be one that was not written whole"
            numbers = rows[rows["valid"] == 1][NUMBER[table]]
            assert np.array_equal(numbers, np.arange(len(numbers))), table
            counts[table] = len(numbers)
    return counts


def kill_after(process, seconds):
    """Kills the writer and returns all that it said."""
    said = []
    reading = threading.Thread(target=lambda: said.append(process.stdout.read()))
    reading.start()
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    reading.join()
    assert process.wait() == -signal.SIGKILL, process.stderr.read()
    return said[0]


@pytest.mark.parametrize("reopen_after", [0, 7])
def test_killed_at_random_moments_loses_and_doubles_no_row(start, tmp_path, reopen_after):
    path = str(tmp_path / "results.h5")
    chance = random.Random(reopen_after)
    epochs = rows = 0
    for _ in range(KILL_ROUNDS):
        highest = acknowledged(kill_after(start("flood", path, reopen_after), chance.uniform(0, 0.15)))
        if not os.path.exists(path):
            assert max(highest.values()) == -1
            continue
        by_h5py = counts_by_h5py(path)
        by_cpp = counts_by_cpp(path)
        for table in TABLES:
            assert by_cpp[table] == by_h5py[table]
            assert by_h5py[table] > highest[table], f"row {highest[table]} of {table} was acknowledged and is lost"
        assert by_cpp["epochs"] == sorted(set(by_cpp["epochs"])), "every writer has an epoch of its own"
        assert by_cpp["training"] >= rows and len(by_cpp["epochs"]) >= epochs
        epochs, rows = len(by_cpp["epochs"]), by_cpp["training"]
    assert epochs > KILL_ROUNDS // 3 and rows > KILL_ROUNDS, "the writers were killed too early to prove anything"


def test_file_can_be_opened_from_its_first_moment_on(start, tmp_path):
    for attempt in range(10):
        path = str(tmp_path / f"{attempt}.h5")
        writer = start("flood", path)
        while not os.path.exists(path):
            assert writer.poll() is None, writer.stderr.read()
        with h5py.File(path, "r", swmr=True) as file:
            assert set(file) == {"runs", *TABLES}
        kill_after(writer, 0)


def test_readers_that_come_and_go_see_whole_rows_and_hinder_nobody(start, tmp_path):
    path = str(tmp_path / "results.h5")
    writer = start("flood", path, 50)
    lines = []
    reading = threading.Thread(target=lambda: lines.extend(writer.stdout), daemon=True)
    reading.start()
    while not os.path.exists(path):
        assert writer.poll() is None, writer.stderr.read()
    end = time.monotonic() + 1.5
    opened = 0
    while time.monotonic() < end or opened < 10:
        said = acknowledged("".join(lines))
        seen = counts_by_cpp(path) if opened % 5 == 0 else counts_by_h5py(path)
        assert all(seen[table] > said[table] for table in TABLES)
        opened += 1
    assert writer.poll() is None, "the readers ended the writer"
    writer.kill()
    reading.join()
    assert acknowledged("".join(lines))["training"] > 100


def test_reader_that_stays_open_follows_the_writer(start, tmp_path):
    path = str(tmp_path / "results.h5")
    writer = start("obey", path)
    assert writer.stdout.readline() == "epoch 1\n"
    with h5py.File(path, "r", swmr=True) as file:
        training = file["training"]
        for expected in range(1, 40):
            order(writer, "append")
            training.refresh()
            assert len(training) == expected and training[-1]["step"] == expected - 1
    assert writer.communicate("close\n")[1] == ""
    with h5py.File(path, "r") as file:
        assert len(file["training"]) == 39


@pytest.mark.parametrize("room", [0, 600, 2000, 3000])
def test_file_that_cannot_be_made_for_want_of_space_is_an_error_and_made_later(start, tmp_path, room):
    path = str(tmp_path / "results.h5")
    limited = subprocess.run(
        [PROCESS, "obey", path],
        input="",
        capture_output=True,
        text=True,
        timeout=20,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
    )
    assert limited.returncode == 1
    assert path in limited.stderr and "File too large" in limited.stderr
    order(start("obey", path), "append")
    assert counts_by_h5py(path)["training"] == 1


def test_second_writer_is_refused_while_the_first_lives_and_no_longer(start, tmp_path):
    path = str(tmp_path / "results.h5")
    first = start("obey", path)
    assert first.stdout.readline() == "epoch 1\n"

    second = start("obey", path)
    output, message = second.communicate()
    assert second.returncode == 2 and output == ""
    assert f"process {first.pid} on {os.uname().nodename}" in message

    kill_after(first, 0)
    third = start("obey", path)
    assert third.stdout.readline() == "epoch 2\n"
    third.communicate("append\nclose\n")
    assert third.returncode == 0
    assert counts_by_cpp(path)["epochs"] == [1, 2]


def test_old_writer_that_was_replaced_from_another_host_is_kept_out(start, tmp_path):
    path = str(tmp_path / "results.h5")
    sidecar = tmp_path / "results.h5.lock"
    old = start("obey", path)
    assert old.stdout.readline() == "epoch 1\n"
    order(old, "append")

    # As another host sees it: no flock reaches it, and the holder, elsewhere, has been silent.
    holder = json.loads(sidecar.read_text())
    sidecar.unlink()
    sidecar.write_text(json.dumps(holder | {"host": "elsewhere", "time": time.time() - 61}))
    new = start("obey", path)
    assert new.stdout.readline() == "epoch 2\n"
    order(new, *["append"] * 5)

    output, message = old.communicate("sync\n")
    assert old.returncode == 1 and output == ""
    assert f"another writer ({os.uname().nodename}, process {new.pid}) took over" in message

    output, message = new.communicate("append\nclose\n")
    assert new.returncode == 0, message
    assert counts_by_cpp(path)["training"] == counts_by_h5py(path)["training"] == 7
    assert counts_by_cpp(path)["epochs"] == [1, 2]
