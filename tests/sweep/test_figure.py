"""The figure of a real sweep: axes, legend and curves against the rows of its results file."""

import subprocess
import sys

from conftest import ROOT
from matplotlib.image import imread

sys.path.insert(0, str(ROOT))

from analysis import curves  # noqa: E402
from analysis.figures import length_figure  # noqa: E402
from analysis.read import read_results  # noqa: E402


def test_figure_of_a_real_sweep(sweep):
    sweep.write("model = hard_alibi\nmodel = lstm\ntask = copy", steps=20)
    run = sweep.start("--eval.lengths=2:8:2", "--eval.every=10")
    assert run.wait() == 0, run.text()

    axes = length_figure(curves.load(read_results(sweep.results), None)).axes[0]
    evaluations = sweep.table("evaluations").merge(sweep.table("jobs")[["job", "model"]], on="job")
    last = evaluations[evaluations.step == 20]
    drawn = {line.get_label(): line for line in axes.get_lines()}
    for model, label in (("hard_alibi", "Hard-ALiBi"), ("lstm", "LSTM")):
        line = next(line for text, line in drawn.items() if text.startswith(label))
        measured = last[last.model == model].sort_values("length")
        assert list(line.get_xdata()) == list(measured.length) == [2, 4, 6, 8]
        assert list(line.get_ydata()) == list(measured.string_accuracy)
    assert "length" in axes.get_xlabel().lower() and "accuracy" in axes.get_ylabel().lower()
    assert axes.get_ylim()[0] <= 0 and axes.get_ylim()[1] >= 1

    command = [sys.executable, "-m", "analysis", "figures", sweep.results, "-o", sweep.folder / "figures"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    picture = imread(sweep.folder / "figures" / "overview.png")
    assert picture.shape[1] >= 1200 and picture[..., :3].std() > 0.01
