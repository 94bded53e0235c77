"""What scaling.py makes of results: on made-up rows, no GPU and no sweep."""

import argparse
import json
from pathlib import Path

import h5py
import numpy
import pytest
import scaling
from pages import replaced
from scaling_table import MARKER, Exchange, efficiency, exchange_of, hidden_share, tables, weak_efficiency

TRAINING = [("job", "i4"), ("try", "i4"), ("step", "i8"), ("loss", "f8"), ("tokens_per_second", "f8"), ("valid", "u1")]
EVENTS = [("job", "i4"), ("time", "f8"), ("state", "S16"), ("valid", "u1")]
JOBS = [("job", "i4"), ("model", "S32"), ("parameters", "i8"), ("spec", "S8192"), ("valid", "u1")]


def host(folder: Path, gpus: int = 4, small: bool = False) -> scaling.Host:
    return scaling.Host(argparse.Namespace(programs=folder, minutes=1, device="cpu", gpus=gpus, steps=50, small=small),
                        folder)


def results(path: Path, **tables: tuple) -> Path:
    with h5py.File(path, "w", libver="latest") as file:
        for name, (columns, rows) in tables.items():
            file[name] = numpy.array(rows, columns)
    return path


def part(*rows: dict, gpus: int = 8) -> dict:
    return {"date": "2026-01-02", "device": "NVIDIA H100", "gpus": gpus, "versions": ["NCCL 2.28.9", "driver 580"],
            "rows": list(rows)}


def step(gpus: int, batch: int, milliseconds: float, strong: bool = True) -> dict:
    return {"gpus": gpus, "strong": strong, "model": "rope", "batch": batch, "parameters": 150_000_000, "steps": 40,
            "milliseconds": milliseconds}


def collective(operation: str, ranks: int, size: int, microseconds: float) -> dict:
    return {"operation": operation, "bytes": size, "ranks": ranks, "microseconds": microseconds,
            "bus_bytes_per_second": (ranks - 1) / ranks * size / microseconds * 1e6}


def adamw(ranks: int, microseconds: float) -> dict:
    return {"operation": "AdamW", "bytes": 6 * 10**8, "ranks": ranks, "microseconds": microseconds}


def test_the_counts_of_gpus_are_powers_of_two(tmp_path):
    assert [host(tmp_path, gpus).counts() for gpus in (2, 8)] == [[1, 2], [1, 2, 4, 8]]


@pytest.mark.parametrize("rows, steps", [(8, 50), (64, 50), (128, 24), (512, 20)])
def test_large_batches_are_timed_for_fewer_steps(tmp_path, rows, steps):
    assert scaling.steps_of(rows, host(tmp_path)) == steps


def test_one_gpu_is_timed_with_the_parts_of_all_of_them_too(tmp_path):
    alone, shared = (scaling.steps_file(host(tmp_path), gpus) for gpus in (1, 4))
    assert [line for line in alone.splitlines() if line.startswith("batch_size")] == [
        f"batch_size = {rows}" for rows in (16, 64, 128, 512)]
    assert "only = train.batch_size=512, steps=20\n" in alone and "\n[mamba]\nlayers = 24\n" in alone
    assert "only = train.batch_size=512, steps=24\n" in shared and "ranks_per_job = 4\n" in shared
    assert [line for line in shared.splitlines() if line.startswith("batch_size")] == [
        f"batch_size = {rows}" for rows in (64, 256, 512)]


def test_a_steps_time_is_the_median_after_warming_up(tmp_path):
    spec = json.dumps({"train": {"batch_size": 10, "context_length": 20}}).encode()
    training = [(0, 1, 2, 1, 1, 1)] + [(0, 1, at, 1, rate, 1) for at, rate in ((12, 1000), (14, 2000), (16, 9000))]
    path = results(tmp_path / "r.h5", training=(TRAINING, [*training, (0, 1, 18, 1, 5, 0), (1, 1, 12, 1, 7, 1)]),
                   jobs=(JOBS, [(0, b"rope", 7, spec, 1), (2, b"mamba", 7, spec, 1)]))
    assert scaling.times_of_steps(path) == [
        {"model": "rope", "batch": 10, "parameters": 7, "steps": 6, "milliseconds": 100}]


def test_gpus_alone_each_have_the_job_of_one(tmp_path, monkeypatch):
    on = host(tmp_path)
    text = scaling.boards_file(on)
    assert [line for line in text.splitlines() if line.startswith("seed")] == [f"seed = {n}" for n in (1, 2, 3, 4)]
    assert "batch_size = 128\n" in text and "steps = 24\n" in text and "layers = 12\n" in text
    spec = json.dumps({"train": {"batch_size": 10, "context_length": 20}}).encode()
    rates = (2000, 1000, 4000, 1000)
    path = results(tmp_path / "r.h5", training=(TRAINING, [(job, 1, 12, 1, rate, 1) for job, rate in enumerate(rates)]),
                   jobs=(JOBS, [(job, b"rope", 7, spec, 1) for job in range(4)]))
    monkeypatch.setattr(on, "sweep", lambda *_: path)
    rows = scaling.time_boards(on)
    assert rows == [{"model": "rope", "batch": 10, "milliseconds": [50, 100, 200, 200]}]
    line = tables({"boards": part(*rows)}).splitlines()[-1]
    assert line.startswith("| rope, 10 rows, on each of 4 GPUs at once")
    assert line.endswith("| 50.00 / 100.00 / 200.00 / 200.00 ms a step | | |")
    monkeypatch.setattr(on, "gpus", 8)
    with pytest.raises(RuntimeError, match="no times"):
        scaling.time_boards(on)


def test_losses_are_compared_step_by_step(tmp_path):
    path = results(tmp_path / "r.h5", training=(TRAINING, [(0, 1, 1, 2.0, 1, 1), (1, 1, 1, 4.0, 1, 1)]),
                   jobs=(JOBS, [(0, b"rope", 7, b"", 1), (1, b"lstm", 7, b"", 1)]))
    alone = scaling.losses_of(path)
    assert alone == {("rope", 1): 2.0, ("lstm", 1): 4.0}
    assert scaling.difference(alone, alone) == {"steps": 2, "same_bits": True, "largest": 0}
    assert scaling.difference(alone, alone | {("lstm", 1): 4.5})["largest"] == pytest.approx(0.125)
    with pytest.raises(RuntimeError, match="not the same steps"):
        scaling.difference(alone, {("rope", 1): 2.0})


def test_a_sweeps_time_is_that_of_its_jobs(tmp_path):
    events = [(-1, 1, b"running", 1), (0, 5, b"running", 1), (1, 6, b"running", 1), (0, 8, b"done", 1),
              (1, 9.5, b"done", 1), (-1, 20, b"done", 1)]
    jobs = [(job, b"rope", 7, b"", 1) for job in range(3)]
    path = results(tmp_path / "r.h5", events=(EVENTS, events), jobs=(JOBS, jobs[:2]))
    assert scaling.seconds_of_jobs(path) == 4.5
    with pytest.raises(RuntimeError, match="not done"):
        scaling.seconds_of_jobs(results(tmp_path / "s.h5", events=(EVENTS, events), jobs=(JOBS, jobs)))


def events_of_fault(end_of_other: float) -> numpy.ndarray:
    return numpy.array([(-1, 3, b"lost", 1), (0, 1, b"running", 1), (1, 1, b"running", 1), (0, 3, b"lost", 1),
                        (0, 3, b"planned", 1), (0, 4, b"running", 1), (1, end_of_other, b"done", 1),
                        (0, 8, b"done", 1)], EVENTS)


def training_of_fault(other: list[tuple[int, int]]) -> numpy.ndarray:
    """`other`: of the other job (try, step)."""
    steps = [(0, 1, step) for step in range(1, 61)] + [(0, 2, step) for step in range(58, scaling.FAULT_STEPS + 1)]
    return numpy.array([(*row, 1, 1, 1) for row in steps + [(1, *row) for row in other]], TRAINING)


def test_a_killed_rank_costs_its_own_job_a_try_and_others_nothing(monkeypatch):
    monkeypatch.setattr(scaling, "FAULT_STEPS", 100)
    whole = [(1, step) for step in range(1, 101)]
    assert scaling.what_went_on(events_of_fault(6), training_of_fault(whole), 0) == {
        "others": 1, "all_done": True, "others_never_stopped": True, "others_were_at_work": True, "killed_after": 60,
        "went_on_at": 58, "went_on_to_the_end": True}
    for other in (whole[:50] + whole[51:], [*whole, (2, 100)]):
        found = scaling.what_went_on(events_of_fault(6), training_of_fault(other), 0)
        assert not found["others_never_stopped"] and found["others_were_at_work"] and found["all_done"]
    ended = scaling.what_went_on(events_of_fault(2), training_of_fault(whole), 0)
    assert ended["others_never_stopped"] and not ended["others_were_at_work"]


def test_the_ranks_of_a_job_are_those_whose_logs_name_it(tmp_path):
    (tmp_path / "r.h5.logs").mkdir()
    for rank, model in ((1, "nope"), (2, "rope"), (3, "rope")):
        (tmp_path / f"r.h5.logs/host-{rank}.log").write_text(
            f"[info] worker {rank} of 3, 1 threads, pid {100 + rank}\n"
            f"[info] {model} copy 2..5 seed 0: try 1 as one of 2 ranks\n")
    assert scaling.pids_of(tmp_path / "r.h5", "rope") == [102, 103]


def test_sums_are_the_json_lines_of_the_program(tmp_path, monkeypatch):
    on = host(tmp_path)
    asked = []
    monkeypatch.setattr(on, "output_of", lambda *line: asked.append(line[2]) or 'a warning\n{"bytes": 1}\n')
    assert scaling.time_sums(on) == [{"bytes": 1}, {"bytes": 1}]
    assert asked == ["2", "4"]


TIMES = {("rope", 1, 8): 6, ("rope", 1, 64): 30, ("rope", 8, 64): 7, ("rope", 8, 512): 32, ("rope", 1, 512): 240}


def test_efficiency_is_of_the_time_of_one_gpu():
    assert efficiency(TIMES, "rope", 8, 512) == pytest.approx(240 / (8 * 32))
    assert weak_efficiency(TIMES, "rope", 8, 64) == pytest.approx(30 / 32)
    assert efficiency(TIMES, "rope", 4, 512) is None and efficiency(TIMES, "mamba", 8, 512) is None


def test_what_is_hidden_is_what_a_step_is_no_longer_for():
    assert hidden_share(TIMES, "rope", 8, 512, Exchange(alone=4, saved=0)) == pytest.approx(1 - (32 - 30) / 4)
    assert hidden_share(TIMES, "rope", 8, 64, Exchange(alone=4, saved=1)) == pytest.approx(1 - (7 - (6 - 1)) / 4)
    assert hidden_share(TIMES, "rope", 8, 512, None) is None
    alone = Exchange(4, 1)
    assert hidden_share(TIMES | {("rope", 2, 64): 17}, "rope", 2, 64, alone) is None  # 32 rows on one GPU


def test_an_exchange_goes_at_the_rate_of_the_largest():
    assert exchange_of(SUMS, 8, 150_000_000) == Exchange(pytest.approx(2.5 + 1.5), pytest.approx(1.2 - 0.2))
    assert exchange_of(SUMS, 8, 75_000_000) == Exchange(pytest.approx(2), pytest.approx(0.5))
    assert exchange_of(SUMS, 4, 150_000_000) is None
    assert exchange_of(SUMS[:-1], 8, 150_000_000) is None


STEPS = [step(1, 8, 6, strong=False), step(1, 64, 30), step(1, 512, 240), step(8, 64, 7), step(8, 512, 32)]
SUMS = [collective("reduce-scatter", 8, 10**6, 900), collective("reduce-scatter", 8, 6 * 10**8, 2500),
        collective("reduce-scatter", 2, 6 * 10**8, 9000), collective("all-gather", 8, 3 * 10**8, 1500), adamw(1, 1200),
        adamw(8, 200)]


@pytest.mark.parametrize("time, said", [(32, "0.94 | 4.00 | 0.25 | >= 0.90 on 8 | met |"),
                                        (34, "0.88 | 4.00 | -0.25 | >= 0.90 on 8 | not met |")])
def test_a_line_for_each_batch_of_strong_scaling_and_one_for_weak(time, said):
    lines = tables({"steps": part(*STEPS[:-1], step(8, 512, time)), "sums": part(*SUMS)}).splitlines()
    assert lines[0] == "2026-01-02, 8 x NVIDIA H100; NCCL 2.28.9, driver 580."
    assert lines[2].startswith("| one job on 1 / 8 GPUs | ms a step | efficiency |")
    assert lines[4] == "| rope, 64 rows | 30.00 / 7.00 | 1.00 / 0.54 | 4.00 | 0.50 |  |  |"
    assert lines[5] == f"| rope, 512 rows | 240.00 / {time}.00 | 1.00 / {said}"
    assert lines[6].startswith(f"| rope, 64 rows a GPU | 30.00 / {time}.00 | 1.00 / ")
    assert lines[8:] == [
        "| on 2 / 8 GPUs | microseconds | bus, GB/s |", "|---|---|---|",
        "| all-gather of 300.0 MB | - / 1500 | - / 175 |",
        "| reduce-scatter of 1.0 MB | - / 900 | - / 1 |", "| reduce-scatter of 600.0 MB | 9000 / 2500 | 33 / 210 |",
        "| AdamW of a rank's share of 600.0 MB of gradients; of all of them 1200 | - / 200 | |"]


def test_on_fewer_gpus_the_goal_is_not_measured_and_what_failed_has_no_time():
    rows = [step(1, 64, 30), step(1, 512, 240), step(4, 64, 9)]
    lines = tables({"steps": part(*rows, gpus=4)}).splitlines()
    assert lines[5] == "| rope, 512 rows | 240.00 / - | 1.00 / - | - | - | >= 0.90 on 8 | not measured |"


def test_sums_of_another_call_say_nothing_about_steps():
    boards = {"model": "rope", "batch": 256, "milliseconds": [1.0, 2.0]}
    text = tables({"steps": part(*STEPS), "sums": part(*SUMS) | {"date": "2026-01-03"}, "boards": part(boards)})
    assert text.startswith("- steps, boards: 2026-01-02, 8 x") and "\n- sums: 2026-01-03, 8 x" in text
    assert "| rope, 512 rows | 240.00 / 32.00 | 1.00 / 0.94 | - | - |" in text


def test_losses_jobs_and_the_lost_rank_have_a_line_each():
    fault = {"workers": 8, "ranks_per_job": 2, "steps": 1000, "others": 3, "all_done": True, "killed_after": 60,
             "others_never_stopped": True, "others_were_at_work": True, "went_on_at": 58, "went_on_to_the_end": True}
    lines = tables({
        "losses": part({"ranks_per_job": 1, "steps": 240, "same_bits": True, "largest": 0},
                       {"ranks_per_job": 8, "steps": 240, "same_bits": False, "largest": 1.7e-7}),
        "jobs": part({"gpus": 1, "jobs": 4, "seconds": 10}, {"gpus": 8, "jobs": 32, "seconds": 10.5}),
        "fault": part(fault, fault | {"others_never_stopped": False}, fault | {"others_were_at_work": False}),
    }).splitlines()
    assert lines[4:] == [
        "| losses in float32, ranks_per_job 1, against one GPU, 240 steps | the same bits | the same bits | met |",
        "| losses in float32, ranks_per_job 8, against one GPU, 240 steps | largest relative difference 1.7e-07 | | |",
        "| small equal jobs an hour, on 1 / 8 GPUs | 1440 / 10971: 7.62 times | >= 7.76 times | not met |",
        "| a rank killed: 8 workers, ranks_per_job 2, jobs of 1000 steps | after step 60, went on at step 58; other "
        "jobs (3) never stopped | all done, others never stopped | met |",
        "| a rank killed: 8 workers, ranks_per_job 2, jobs of 1000 steps | after step 60, went on at step 58; other "
        "jobs (3) STOPPED | all done, others never stopped | not met |",
        "| a rank killed: 8 workers, ranks_per_job 2, jobs of 1000 steps | after step 60, went on at step 58; other "
        "jobs (3) never stopped, but were not at work when the rank was lost | all done, others never stopped "
        "| not measured |"]


def test_the_tables_stand_between_the_markers_of_a_page():
    begin, end = "<!-- scaling -->", "<!-- end of scaling -->"
    page = f"before\n{begin}\nold\n{end}\nafter\n"
    assert replaced(page, "new", MARKER) == f"before\n{begin}\nnew\n{end}\nafter\n"
    for broken in ("", begin, end + begin):
        with pytest.raises(ValueError, match="needs <!-- scaling --> once"):
            replaced(broken, "new", MARKER)
    assert "new" in replaced((scaling.ROOT / "docs/measurements.md").read_text(), "new", MARKER)


def test_a_part_that_fails_is_no_end_and_leaves_what_was_measured_before(tmp_path, monkeypatch):
    def fails(host):
        raise RuntimeError("no results")
    monkeypatch.setattr(scaling, "PARTS", {"losses": fails, "jobs": lambda host: [{"gpus": host.gpus}]})
    monkeypatch.setattr(scaling, "about", lambda host: {"date": "2026-01-02"})
    given = argparse.Namespace(programs=tmp_path, minutes=1, device="cpu", gpus=2, steps=50, small=True, only=None,
                               json=tmp_path / "figures.json")
    figures = {"parts": {"losses": {"rows": [1]}}}
    assert scaling.measure(given, figures) == ["losses: no results"]
    assert json.loads(given.json.read_text()) == figures == {
        "parts": {"losses": {"rows": [1]}, "jobs": {"date": "2026-01-02", "rows": [{"gpus": 2}]}}}
