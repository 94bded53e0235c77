"""The command line: output, errors in one line, exit codes."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import PROJECT
from results_file import Sweep

from analysis.__main__ import main


def test_table_on_stdout_is_csv(results_path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["table", str(results_path)]) == 0
    text = capsys.readouterr().out
    assert main(["table", str(results_path), "-o", str(tmp_path / "table.csv")]) == 0
    assert (tmp_path / "table.csv").read_text() == text
    assert capsys.readouterr().out == f"{tmp_path / 'table.csv'}: 56 rows, 25 columns\n"
    assert len(pd.read_csv(tmp_path / "table.csv")) == 56


def test_figures_says_what_it_wrote(results_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out"
    assert main(["figures", str(results_path), "-o", str(folder), "--metric", "char"]) == 0
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.name for path in written] == ["length-char-accuracy.png", "efficiency-char-accuracy.png", "loss.png",
                                               "overview-char-accuracy.png"]
    assert sorted(written) == sorted(folder.iterdir())


def test_compare(results_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(results_path)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("4 of 4 jobs done\n")
    assert "not measured:  N-gram, suffix key" in text
    assert "does not hold: Length generalisation: every model solves the trained lengths" in text


def test_compare_leaves_out_what_is_not_done(live_sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    for length in (20, 50):
        live_sweep.evaluation(1, length, 0.1, step=250)  # of the job that runs
    assert main(["compare", str(live_sweep.write())]) == 0
    text = capsys.readouterr().out
    assert text.startswith("1 of 4 jobs done; the claims are judged by those\n")
    assert "does not hold" not in text


@pytest.mark.parametrize("arguments, words", [
    (["figurs", "FILE"], "VERB 'figurs' is unknown: did you mean 'figures'?"),
    (["xyz", "FILE"], "allowed: table, figures, live, compare"),
    (["figures", "FILE", "--format", "pgn"], "--format 'pgn' is unknown: did you mean 'png'?"),
    (["figures", "FILE", "--metric", "f1"], "has no F1"),
    (["figures", "FILE", "--mode", "greedy"], "has no evaluation in this mode"),
    (["figures", "FILE", "--metrik", "f1"], "unrecognized arguments: --metrik f1"),
    (["table", "FILE", "-o", "x.xlsx"], "must end in .parquet or .csv"),
    (["table", "FILE", "-o", "/proc/x.csv"], "/proc/x.csv: "),
    (["live", "FILE", "--every", "soon"], "'soon' is not a number of seconds"),
    (["live", "FILE", "--once", "--figure", "x.gif"], "must end in .png, .svg or .pdf"),
    (["compare", "nothing.h5"], "nothing.h5: No such file or directory"),
    (["live"], "the following arguments are required: results.h5"),
    ([], "required: VERB"),
])
def test_errors_are_one_line(
    arguments: list[str], words: str, results_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(results_path) if argument == "FILE" else argument for argument in arguments]) == 2
    output = capsys.readouterr()
    assert words in output.err and output.err.startswith("analysis: ") and output.err.count("\n") == 1
    assert output.out == ""


def test_exit_code_of_the_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "analysis", "table", str(tmp_path / "nothing.h5")]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_a_reader_of_the_output_may_leave(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "results.h5")
    job = sweep.job("rope")
    for step in range(4000):
        sweep.evaluation(job, 10, 0.5, step=step)
    command = f"{sys.executable} -m analysis table {sweep.write()} | head -1"
    done = subprocess.run(command, shell=True, cwd=PROJECT, capture_output=True, text=True)
    assert done.stdout.startswith("job,id,model") and done.stderr == ""
