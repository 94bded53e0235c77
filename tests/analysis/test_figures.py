"""The figures, through what matplotlib holds of them, and the files that are written."""

from pathlib import Path

import numpy as np
import pytest
from conftest import LENGTHS, accuracy
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D
from results_file import NAN, Sweep, wilson

from analysis import curves, style
from analysis.figures import (
    OVERVIEW_DPI,
    efficiency_figure,
    length_figure,
    loss_figure,
    overview_figure,
    save,
    save_all,
)
from analysis.read import read_results


def load(sweep: Sweep, mode: str | None = None) -> curves.Data:
    return curves.load(read_results(sweep.write()), mode)


def lines(axes: Axes) -> dict[str, Line2D]:
    """The curves of a panel by label."""
    return {line.get_label(): line for line in axes.get_lines() if line.get_label() != "training maximum"}


def bands(axes: Axes) -> list[tuple[np.ndarray, np.ndarray]]:
    """(low, high) of each band, in the order of the curves; the vertices go along one edge and back on the other."""
    found = []
    for band in axes.collections:
        points = band.get_paths()[0].vertices
        xs = np.unique(points[:, 0])
        at = [points[points[:, 0] == x, 1] for x in xs]
        found.append((np.array([y.min() for y in at]), np.array([y.max() for y in at])))
    return found


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts() if text.get_text().strip()]


def texts(figure: Figure) -> str:
    return " / ".join(text.get_text() for text in figure.texts)


def test_length_figure_shows_the_mean_over_seeds_at_the_last_step(sweep: Sweep) -> None:
    figure = length_figure(load(sweep))
    (axes,) = figure.axes
    drawn = lines(axes)
    assert list(drawn) == ["RoPE", "Mamba"]
    expected = [(accuracy("rope", 1, length, 1000) + accuracy("rope", 2, length, 1000)) / 2 for length in LENGTHS]
    assert drawn["RoPE"].get_xdata().tolist() == list(LENGTHS)
    assert drawn["RoPE"].get_ydata() == pytest.approx(expected)
    # Seed 2 of Mamba was measured again by a second try, at half the accuracy.
    expected = [(accuracy("mamba", 1, length, 1000) + accuracy("mamba", 2, length, 1000) / 2) / 2 for length in LENGTHS]
    assert drawn["Mamba"].get_ydata() == pytest.approx(expected)


def test_length_figure_is_labelled(sweep: Sweep) -> None:
    figure = length_figure(load(sweep))
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("String length", "String accuracy")
    assert axes.get_title(loc="left") == "Copy"
    assert axes.get_ylim() == (0, 1)
    assert legend(figure) == ["RoPE", "Mamba", "trained lengths"]
    assert "Length generalisation" in texts(figure)
    assert "mean over 2 seeds; bands: lowest to highest seed" in texts(figure)


def test_trained_lengths_are_shaded_up_to_a_dashed_line(sweep: Sweep) -> None:
    (axes,) = length_figure(load(sweep)).axes
    (line,) = [line for line in axes.get_lines() if line.get_label() == "training maximum"]
    assert list(line.get_xdata()) == [50, 50]
    assert line.is_dashed()
    (region,) = axes.patches
    assert (region.get_x(), region.get_x() + region.get_width()) == (5, 50)


def test_band_of_several_seeds_is_their_range(sweep: Sweep) -> None:
    (axes,) = length_figure(load(sweep)).axes
    low, high = bands(axes)[0]
    assert low == pytest.approx([accuracy("rope", 2, length, 1000) for length in LENGTHS])
    assert high == pytest.approx([accuracy("rope", 1, length, 1000) for length in LENGTHS])


def test_band_of_one_seed_is_the_wilson_interval(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "results.h5")
    job = sweep.job("rope")
    sweep.evaluation(job, 10, 0.9)
    sweep.evaluation(job, 20, 0.4)
    figure = length_figure(load(sweep))
    ((low, high),) = bands(figure.axes[0])
    assert low == pytest.approx([wilson(0.9, 100)[0], wilson(0.4, 100)[0]])
    assert high == pytest.approx([wilson(0.9, 100)[1], wilson(0.4, 100)[1]])
    assert "95 % Wilson interval" in texts(figure)


def test_character_accuracy(sweep: Sweep) -> None:
    figure = length_figure(load(sweep), "char_accuracy")
    (axes,) = figure.axes
    assert axes.get_ylabel() == "Character accuracy"
    expected = [np.mean([accuracy("rope", seed, length, 1000) ** 0.1 for seed in (1, 2)]) for length in LENGTHS]
    assert lines(axes)["RoPE"].get_ydata() == pytest.approx(expected)


def test_efficiency_figure(sweep: Sweep) -> None:
    figure = efficiency_figure(load(sweep))
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Training strings seen", "String accuracy")
    assert axes.get_title(loc="left") == "Copy, strings of length 50"  # the training maximum
    assert axes.get_ylim() == (0, 1)
    rope = lines(axes)["RoPE"]
    assert rope.get_xdata().tolist() == [4001.5, 8001.5]  # means of the two seeds' 8 * step + seed
    expected = [np.mean([accuracy("rope", seed, 50, step) for seed in (1, 2)]) for step in (500, 1000)]
    assert rope.get_ydata() == pytest.approx(expected)


def test_efficiency_at_another_length_takes_the_nearest(sweep: Sweep) -> None:
    (axes,) = efficiency_figure(load(sweep), at_length=75).axes
    assert axes.get_title(loc="left").endswith("length 80")
    expected = np.mean([accuracy("rope", seed, 80, 1000) for seed in (1, 2)])
    assert lines(axes)["RoPE"].get_ydata()[-1] == pytest.approx(expected)


def test_a_seed_that_stopped_early_keeps_what_it_reached(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "results.h5")
    first, second = sweep.job("rope", seed=1), sweep.job("rope", seed=2)
    sweep.evaluation(first, 50, 0.98, step=100)
    sweep.event(first, "done", step=100)
    sweep.evaluation(second, 50, 0.5, step=100)
    sweep.evaluation(second, 50, 0.8, step=200)
    (axes,) = efficiency_figure(load(sweep)).axes
    assert lines(axes)["RoPE"].get_ydata() == pytest.approx([0.74, 0.89])


def test_a_measurement_before_training_is_not_on_the_log_axis(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "results.h5")
    job = sweep.job("rope")
    for step in (0, 10, 20):
        sweep.evaluation(job, 50, step / 20, step=step)
    (axes,) = efficiency_figure(load(sweep)).axes
    assert lines(axes)["RoPE"].get_xdata().tolist() == [80, 160]


def test_loss_figure(sweep: Sweep) -> None:
    figure = loss_figure(load(sweep))
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Training step", "Training loss")
    mamba = lines(axes)["Mamba"]
    assert mamba.get_xdata().tolist() == [500, 1000]
    assert mamba.get_ydata() == pytest.approx([0.65, (3 / 11 + 0.1 + 0.125) / 2])
    assert legend(figure) == ["RoPE", "Mamba"]


def test_many_losses_are_averaged_in_bins(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "results.h5")
    job = sweep.job("rope")
    for step in range(1, 301):
        sweep.training(job, step, loss=float(step))
    (axes,) = loss_figure(load(sweep)).axes
    line = lines(axes)["RoPE"]
    assert line.get_xdata()[:2].tolist() == [1.5, 3.5]
    assert line.get_ydata() == pytest.approx(np.arange(1.5, 301, 2))
    assert "mean over 2 steps" in axes.get_xlabel()


def test_a_panel_for_each_task_and_n(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "results.h5")
    for model in ("rope", "mamba"):
        for n in (2, 3):
            job = sweep.job(model, task="prefix_ngram", n_gram=n)
            sweep.evaluation(job, 10, n / 10, task="prefix_ngram", n_gram=n)
            sweep.evaluation(job, 10, n / 20, task="suffix_ngram", n_gram=n)
    figure = length_figure(load(sweep))
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.axison]
    assert titles == [
        "Prefix 2-gram look-up", "Prefix 3-gram look-up",
        "Trained on prefix ngram: suffix 2-gram look-up", "Trained on prefix ngram: suffix 3-gram look-up",
    ]
    assert [lines(axes)["Mamba"].get_ydata().tolist() for axes in figure.axes] == [[0.2], [0.3], [0.1], [0.15]]
    assert legend(figure) == ["RoPE", "Mamba", "trained lengths"]


def test_configurations_of_one_model_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "results.h5")
    for rate, right in ((1e-3, 0.9), (1e-4, 0.5)):
        for seed in (1, 2):
            sweep.evaluation(sweep.job("mamba", rate=rate, seed=seed, state_dim=16), 10, right)
    sweep.evaluation(sweep.job("rope", rate=1e-4), 10, 0.7)
    figure = length_figure(load(sweep))
    drawn = lines(figure.axes[0])
    assert {label: line.get_ydata().tolist() for label, line in drawn.items()} == {
        "RoPE": [0.7], "Mamba, lr 1e-3": [0.9], "Mamba, lr 1e-4": [0.5],
    }
    assert drawn["Mamba, lr 1e-3"].get_color() != drawn["Mamba, lr 1e-4"].get_color()
    assert drawn["Mamba, lr 1e-3"].get_marker() == drawn["Mamba, lr 1e-4"].get_marker()
    assert set(legend(figure)) == {*drawn, "trained lengths"}


def test_models_look_different_and_alike_in_every_figure(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "results.h5")
    for model in style.MODELS:
        job = sweep.job(model)
        for step in (50, 100):
            sweep.evaluation(job, 50, 0.5, step=step)
    data = load(sweep)
    for figure in (length_figure(data), efficiency_figure(data), overview_figure(data)):
        for axes in figure.axes:
            drawn = lines(axes)
            assert list(drawn) == ["RoPE", "NoPE", "ALiBi", "Hard-ALiBi", "Mamba", "LSTM"]
            assert [to_hex(line.get_color()).upper() for line in drawn.values()] == [
                model.colour for model in style.MODELS.values()
            ]
    assert len({model.colour for model in style.MODELS.values()}) == 6
    assert len({model.marker for model in style.MODELS.values()}) == 6
    solid = [name for name, model in style.MODELS.items() if model.line == "-"]
    assert solid == ["rope", "nope", "alibi", "hard_alibi"]
    assert style.MODELS["mamba"].line != style.MODELS["lstm"].line


def test_models_that_are_not_known_are_drawn_too(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "results.h5")
    for model in ("EleutherAI/pythia-410m", "state-spaces/mamba-370m"):
        sweep.add("evaluations", job=sweep.job(model, task="squad", train=(0, 0)), task="squad", length=50,
                  mode="greedy", exact_match=0.25, f1=0.5)
    figure = length_figure(load(sweep))
    assert figure.axes[0].get_ylabel() == "F1"
    drawn = lines(figure.axes[0])
    assert list(drawn) == ["pythia-410m", "mamba-370m"]
    assert len({line.get_color() for line in drawn.values()}) == 2
    assert legend(figure) == ["pythia-410m", "mamba-370m"]  # nothing was trained here


@pytest.fixture
def asked(tmp_path: Path) -> Sweep:
    """What six pretrained models answered, made up."""
    sweep = Sweep(tmp_path / "asked.h5", "pretrained")
    for family, reach in (("pythia", 900), ("mamba", 150)):
        for size, billions in (("370m" if family == "mamba" else "410m", 0.4), ("1.4b", 1.4), ("2.8b", 2.8)):
            model, scale = f"{family}-{size}", reach * billions ** 0.5
            curve = {length: round(1 / (1 + (length / scale) ** 3), 3) for length in (50, 100, 200, 300, 500)}
            sweep.pretrained(model, "c4_copy", curve)
            sweep.pretrained(model, "c4_copy", {length: value ** 4 for length, value in curve.items()}, order="random")
            book = {length: round(1 / (1 + (length / scale * 4) ** 2), 3) for length in (10, 20, 40, 70, 100)}
            sweep.pretrained(model, "phone_book", book | {200: NAN if family == "pythia" else 0.0})
            f1 = {edge: (0.5 + 0.05 * billions) / (1 + edge / scale / 4) for edge in (50, 100, 150, 200, 250)}
            sweep.pretrained(model, "squad", {edge: value / 2 for edge, value in f1.items()}, f1, n=30)
    return sweep


def test_pretrained_models_have_a_panel_for_each_task_and_order(asked: Sweep) -> None:
    figure = length_figure(load(asked))
    found = {axes.get_title(loc="left"): axes for axes in figure.axes if axes.axison}
    assert list(found) == ["C4 copy", "C4 copy, shuffled", "Phone book", "SQuAD"]
    labels = [(axes.get_xlabel(), axes.get_ylabel()) for axes in found.values()]
    assert labels == [
        ("Tokens to copy", "Exact match"), ("Tokens to copy", "Exact match"),
        ("Entries in the phone book", "Exact match"), ("Tokens of the passage, at most", "F1"),
    ]
    order = ["pythia-410m", "pythia-1.4b", "pythia-2.8b", "mamba-370m", "mamba-1.4b", "mamba-2.8b"]
    for axes in found.values():
        assert list(lines(axes)) == order
        assert len({line.get_color() for line in lines(axes).values()}) == 6
        assert [line.is_dashed() for line in lines(axes).values()] == [False] * 3 + [True] * 3
    assert lines(found["Phone book"])["pythia-410m"].get_xdata().tolist() == [10, 20, 40, 70, 100], "200 was not run"
    low, high = bands(found["C4 copy"])[0]
    right = lines(found["C4 copy"])["pythia-410m"].get_ydata()
    assert low == pytest.approx([wilson(value, 96)[0] for value in right])
    assert high == pytest.approx([wilson(value, 96)[1] for value in right])
    assert bands(found["SQuAD"]) == []
    assert "over prompts" in texts(figure)


def test_figures_of_training_are_empty_where_nothing_was_trained(asked: Sweep, tmp_path: Path) -> None:
    data = load(asked)
    for figure in (efficiency_figure(data), loss_figure(data)):
        assert [text.get_text() for text in figure.axes[0].texts] == ["nothing measured yet"]
    left, right = overview_figure(data).axes
    assert (left.get_title(loc="left"), right.get_title(loc="left")) == ("C4 copy", "C4 copy, shuffled")
    assert [path.name for path in save_all(data, tmp_path)] == ["length.png", "overview.png"]


def test_trained_and_pretrained_models_share_a_file(asked: Sweep) -> None:
    asked.evaluation(asked.job("rope"), 10, 0.75)
    data = load(asked)
    titles = [axes.get_title(loc="left") for axes in length_figure(data).axes if axes.axison]
    assert titles == ["C4 copy", "C4 copy, shuffled", "Copy", "Phone book", "SQuAD"]
    assert [axes.get_title(loc="left") for axes in efficiency_figure(data).axes] == ["Copy, strings of length 10"]


def test_mode(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "results.h5")
    job = sweep.job("rope")
    sweep.evaluation(job, 10, 0.75)
    sweep.evaluation(job, 10, 0.5, mode="greedy")
    for mode, expected in ((None, 0.75), ("teacher_forced", 0.75), ("greedy", 0.5)):
        assert lines(length_figure(load(sweep, mode)).axes[0])["RoPE"].get_ydata().tolist() == [expected]


def test_overview(sweep: Sweep) -> None:
    figure = overview_figure(load(sweep))
    left, right = figure.axes
    assert left.get_title(loc="left") == "Length generalisation: copy"
    assert right.get_title(loc="left") == "Training efficiency: strings of length 50"
    assert list(lines(left)) == list(lines(right)) == ["RoPE", "Mamba"]
    assert right.get_xscale() == "log"


def test_overview_shows_the_loss_where_one_step_was_measured(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "results.h5")
    job = sweep.job("rope")
    sweep.evaluation(job, 50, 0.5)
    sweep.training(job, 10, 2.0)
    assert overview_figure(load(sweep)).axes[1].get_title(loc="left") == "Training loss"


def test_empty_file(tmp_path: Path) -> None:
    data = load(Sweep(tmp_path / "results.h5"))
    for figure in (length_figure(data), efficiency_figure(data), loss_figure(data), overview_figure(data)):
        assert [text.get_text() for text in figure.axes[0].texts] == ["nothing measured yet"]


@pytest.mark.parametrize("what", ["sweep", "asked"])
def test_nothing_overlaps(what: str, request: pytest.FixtureRequest) -> None:
    """Titles, axes with their labels, legend and caption: no two share a pixel, all lie on the page."""
    data = load(request.getfixturevalue(what))
    for figure in (length_figure(data), efficiency_figure(data), loss_figure(data), overview_figure(data)):
        figure.draw_without_rendering()
        boxes = [axes.get_tightbbox() for axes in figure.axes if axes.axison]
        boxes += [artist.get_window_extent() for artist in (*figure.legends, *figure.texts)]
        for index, box in enumerate(boxes):
            assert box.x0 >= -2 and box.y0 >= -2 and box.x1 <= figure.bbox.x1 + 2 and box.y1 <= figure.bbox.y1 + 2
            for other in boxes[index + 1:]:
                assert not box.overlaps(other)


def test_overview_is_written_and_not_blank(sweep: Sweep, tmp_path: Path) -> None:
    target = tmp_path / "sub" / "overview.png"
    save(overview_figure(load(sweep)), target, OVERVIEW_DPI)
    picture = imread(target)
    assert picture.shape[1] == 1600
    inked = (picture[..., :3] < 0.9).any(axis=2)
    assert 0.01 < inked.mean() < 0.5
    for colour in (style.MODELS["rope"].colour, style.MODELS["mamba"].colour):
        wanted = np.array([int(colour[i:i + 2], 16) for i in (1, 3, 5)]) / 255
        assert (np.abs(picture[..., :3] - wanted).max(axis=2) < 0.02).sum() > 500
    assert [path.name for path in target.parent.iterdir()] == ["overview.png"]


@pytest.mark.parametrize("format, start", [("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_every_figure_is_written_in_other_formats(sweep: Sweep, tmp_path: Path, format: str, start: bytes) -> None:
    paths = save_all(load(sweep), tmp_path / "out", format)
    names = [path.name for path in paths]
    assert names == [f"{name}.{format}" for name in ("length", "efficiency", "loss", "overview")]
    for path in paths:
        assert path.read_bytes().startswith(start)
