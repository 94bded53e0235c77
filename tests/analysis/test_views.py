"""The rows that count, the states of jobs, and the tidy table."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import LENGTHS, STEPS, accuracy
from results_file import START, Sweep

from analysis.read import read_results
from analysis.views import (
    TABLE_COLUMNS,
    current_evaluations,
    current_training,
    is_over,
    job_options,
    job_states,
    tidy_table,
)


def test_the_highest_try_wins(results_path: Path) -> None:
    results = read_results(results_path)
    current = current_evaluations(results)
    assert len(results.evaluations) == 4 * 2 * len(LENGTHS) + len(LENGTHS)
    assert len(current) == 4 * 2 * len(LENGTHS)
    retried = current[(current["job"] == 3) & (current["step"] == 1000)].set_index("length")
    assert (retried["try"] == 2).all()
    assert retried["string_accuracy"][50] == pytest.approx(accuracy("mamba", 2, 50, 1000) / 2)
    kept = current[(current["job"] == 3) & (current["step"] == 500)]  # measured by the first try alone
    assert (kept["try"] == 1).all() and len(kept) == len(LENGTHS)


def test_a_late_row_of_an_earlier_try_does_not_win(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "results.h5")
    job = sweep.job("rope")
    sweep.evaluation(job, 10, 0.75, attempt=2)
    sweep.evaluation(job, 10, 0.5, attempt=2)  # the same try again: the last
    sweep.evaluation(job, 10, 0.25, attempt=1)
    sweep.evaluation(job, 10, 0.125, attempt=1, mode="greedy")  # another point
    current = current_evaluations(read_results(sweep.write()))
    assert sorted(current["string_accuracy"]) == [0.125, 0.5]


def test_training_of_the_highest_try(results_path: Path) -> None:
    current = current_training(read_results(results_path))
    assert len(current) == 8
    assert current.loc[(current["job"] == 3) & (current["step"] == 1000), "loss"].tolist() == [0.125]


def test_states(live_sweep: Sweep) -> None:
    live_sweep.job("nope")
    results = read_results(live_sweep.write())
    states = job_states(results).set_index("job")
    assert states["state"].tolist() == ["done", "running", "planned", "failed", "planned"]
    assert states["tries"].tolist() == [1, 1, 1, 1, 0]
    assert states["started"][1] == START + 10
    assert states["message"][3] == "loss is NaN at step 7"
    assert not is_over(results)


def test_a_job_that_ran_in_an_ended_run_waits_again(live_sweep: Sweep) -> None:
    live_sweep.event(-1, "stopped", time=START + 99)
    results = read_results(live_sweep.write())
    assert job_states(results)["state"].tolist() == ["done", "planned", "planned", "failed"]
    assert is_over(results)


def test_a_job_that_ran_in_a_killed_run_waits_again(live_sweep: Sweep) -> None:
    live_sweep.run(1, time=START + 500)
    live_sweep.event(2, "running", attempt=2, time=START + 510, run=1)
    results = read_results(live_sweep.write())
    assert job_states(results)["state"].tolist() == ["done", "planned", "running", "failed"]
    assert job_states(results)["tries"].tolist() == [1, 1, 2, 1]


def test_table_joins_the_job(results_path: Path) -> None:
    table = tidy_table(read_results(results_path))
    assert tuple(table.columns) == TABLE_COLUMNS
    assert len(table) == 4 * len(STEPS) * len(LENGTHS)
    row = table[(table["job"] == 2) & (table["length"] == 80) & (table["step"] == 500)].iloc[0]
    assert row[["model", "train_task", "task", "mode"]].tolist() == ["mamba", "copy", "copy", "teacher_forced"]
    assert row[["seed", "train_min_length", "train_max_length", "n_gram", "n", "examples"]].tolist() == [
        1, 5, 50, 0, 100, 4001,
    ]
    assert row["string_accuracy"] == accuracy("mamba", 1, 80, 500)
    assert row["string_accuracy_low"] < row["string_accuracy"] + 1e-12 and row["string_accuracy_high"] > 0.0
    assert (row["learning_rate"], row["parameters"]) == (1e-4, 1000)


def test_table_has_a_column_for_each_option_that_differs(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "results.h5")
    for state, rate in ((8, 1e-4), (16, 1e-3)):
        sweep.evaluation(sweep.job("mamba", rate=rate, state_dim=state), 10, 0.5)
    table = tidy_table(read_results(sweep.write()))
    assert tuple(table.columns) == (*TABLE_COLUMNS, "model.state_dim")
    assert table["model.state_dim"].tolist() == [8, 16]
    assert table["learning_rate"].tolist() == [1e-4, 1e-3]


def test_options_of_a_specification_that_cannot_be_parsed(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "results.h5")
    sweep.add("jobs", job=0, model="rope", task="copy", seed=3, train_max_length=20, spec="{cut")
    options = job_options(read_results(sweep.write()))[0]
    assert (options["model.architecture"], options["train.seed"], options["train.max_length"]) == ("rope", 3, 20)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_table_survives_a_file(results_path: Path, tmp_path: Path, suffix: str) -> None:
    from analysis.__main__ import main

    target = tmp_path / "sub" / f"evaluations{suffix}"
    assert main(["table", str(results_path), "-o", str(target)]) == 0
    # "id" looks like a number to a CSV reader.
    read = pd.read_parquet(target) if suffix == ".parquet" else pd.read_csv(target, dtype={"id": str})
    pd.testing.assert_frame_equal(read, tidy_table(read_results(results_path)), check_dtype=False)
