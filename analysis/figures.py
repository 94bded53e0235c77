"""The figures, in the manner of figure 1 of arXiv 2402.01032. Every drawing function returns a matplotlib Figure."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from analysis import style
from analysis.curves import (
    BAND_OF_SEEDS,
    BAND_OF_STRINGS,
    Curve,
    Data,
    Panel,
    efficiency_curves,
    efficiency_length,
    length_curves,
    loss_bin,
    loss_curves,
    loss_panels,
    metric_of,
    panels,
    trained_panels,
)
from analysis.legend import TRAINING_MAXIMUM, draw_legend

DPI = 200
OVERVIEW_SIZE, OVERVIEW_DPI = (10.0, 4.25), 160  # 1600 pixels wide; inches without legend and caption
PANEL_SIZE = (4.8, 3.5)  # inches
COLUMNS = 3  # of panels, at most
TITLE_HEIGHT, CAPTION_HEIGHT = 0.5, 0.42  # inches kept free for them
LOG_RANGE = 30  # a loss that spans more than this factor is drawn on a log axis

Drawing = Callable[[Axes, Panel], list[Curve]]


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draws with the common look, whatever the user's matplotlibrc says."""

    @functools.wraps(draw)
    def wrapper(*arguments, **options) -> Figure:
        with matplotlib.rc_context(style.RC):
            return draw(*arguments, **options)

    return wrapper


@styled
def length_figure(data: Data, metric: str | None = None) -> Figure:
    """Accuracy against string length at each job's last step; a panel for each task."""
    heading = "Length generalisation" if trained_panels(data) else "Accuracy by length"
    return _panel_figure(data, panels(data), heading, functools.partial(_draw_lengths, data, metric))


@styled
def efficiency_figure(data: Data, metric: str | None = None, at_length: int | None = None) -> Figure:
    """Accuracy at one length against training strings seen; a panel for each task."""
    draw = functools.partial(_draw_efficiency, data, metric, at_length)
    return _panel_figure(data, trained_panels(data), "Training efficiency", draw)


@styled
def loss_figure(data: Data) -> Figure:
    """Training loss against step; a panel for each training task."""
    return _panel_figure(data, loss_panels(data), "Training loss", functools.partial(_draw_loss, data))


@styled
def overview_figure(data: Data, metric: str | None = None, at_length: int | None = None) -> Figure:
    """Length generalisation and training efficiency (the loss, where only one step was measured) side by side; where
    nothing was trained, two tasks of pretrained models."""
    figure = _figure(OVERVIEW_SIZE)
    left, right = figure.subplots(1, 2)
    found, asked = trained_panels(data), panels(data)[:2]
    if not found and asked:
        curves = _draw_lengths(data, metric, left, asked[0])
        if len(asked) == 2:
            curves += _draw_lengths(data, metric, right, asked[1])
        else:
            right.set_axis_off()
    elif not found:
        curves = _draw_nothing(left) + _draw_loss_or_nothing(data, right)
    else:
        panel = _main_panel(data, found)
        curves = _draw_lengths(data, metric, left, panel)
        left.set_title(f"Length generalisation: {panel.title().lower()}")
        curves += _draw_right(data, metric, at_length, right, panel)
    _finish(figure, data, style.title_of(data.name), curves)
    return figure


def _draw_right(data: Data, metric: str | None, at_length: int | None, axes: Axes, panel: Panel) -> list[Curve]:
    length = efficiency_length(data, panel, at_length)
    curves = efficiency_curves(data, panel, metric_of(data, panel, metric), length)
    if any(len(curve.x) > 1 for curve in curves):
        _draw_efficiency(data, metric, at_length, axes, panel)
        axes.set_title(f"Training efficiency: {axes.get_title(loc='left').split(', ')[-1]}")
        return curves
    return _draw_loss_or_nothing(data, axes)


def _draw_loss_or_nothing(data: Data, axes: Axes) -> list[Curve]:
    found = loss_panels(data)
    if not found:
        return _draw_nothing(axes)
    curves = _draw_loss(data, axes, found[0])
    axes.set_title("Training loss")
    return curves


def _main_panel(data: Data, found: list[Panel]) -> Panel:
    """The trained task itself, with the most curves."""

    def rank(panel: Panel) -> tuple[bool, int]:
        return panel.task == panel.train_task, len(length_curves(data, panel, metric_of(data, panel, None)))

    return max(found, key=rank)


def _panel_figure(data: Data, found: list[Panel], heading: str, draw: Drawing) -> Figure:
    columns = 2 if len(found) == 4 else min(max(len(found), 1), COLUMNS)
    rows = max(-(-len(found) // columns), 1)
    width = max(PANEL_SIZE[0] * columns, 6.4)
    figure = _figure((width, PANEL_SIZE[1] * rows + TITLE_HEIGHT))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    curves = [curve for axes, panel in zip(grid, found) for curve in draw(axes, panel)]
    for axes in grid[len(found):]:
        axes.set_axis_off()
    if not found:
        _draw_nothing(grid[0])
    _finish(figure, data, _title(data, heading), curves)
    return figure


def _title(data: Data, heading: str) -> str:
    """The sweep's name and what is drawn, unless the name says it."""
    name = style.title_of(data.name)
    return name if heading.lower() in name.lower() else f"{name}: {heading.lower()}"


def _draw_lengths(data: Data, metric: str | None, axes: Axes, panel: Panel) -> list[Curve]:
    metric = metric_of(data, panel, metric)
    curves = length_curves(data, panel, metric)
    if not curves:
        return _draw_nothing(axes, panel.title())
    _draw_trained_lengths(axes, curves)
    _draw_curves(axes, data, curves)
    axes.set_xlabel(style.LENGTHS.get(panel.task, "String length"))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, steps=[1, 2, 2.5, 5, 10]))
    _accuracy_axis(axes, metric)
    axes.set_title(panel.title())
    return curves


def _draw_trained_lengths(axes: Axes, curves: list[Curve]) -> None:
    """A shaded region up to the training maximum, and a dashed line there (at each, if they differ)."""
    ranges = {(curve.train_min_length, curve.train_max_length) for curve in curves if curve.train_max_length > 0}
    if not ranges:
        return
    axes.axvspan(min(low for low, _ in ranges), min(high for _, high in ranges), color=style.TRAINED, lw=0, zorder=0)
    for high in sorted({high for _, high in ranges}):
        axes.axvline(high, color=style.GREY, linestyle=(0, (4, 3)), linewidth=1.2, zorder=1, label=TRAINING_MAXIMUM)


def _draw_efficiency(
    data: Data, metric: str | None, at_length: int | None, axes: Axes, panel: Panel
) -> list[Curve]:
    metric = metric_of(data, panel, metric)
    length = efficiency_length(data, panel, at_length)
    curves = efficiency_curves(data, panel, metric, length)
    if not curves:
        return _draw_nothing(axes, panel.title())
    _draw_curves(axes, data, curves)
    axes.set_xscale("log")
    _log_axis(axes, np.concatenate([curve.x for curve in curves]))
    axes.set_xlabel("Training strings seen")
    _accuracy_axis(axes, metric)
    axes.set_title(f"{panel.title()}, strings of length {length}")
    return curves


def _draw_loss(data: Data, axes: Axes, panel: Panel) -> list[Curve]:
    curves = loss_curves(data, panel)
    if not curves:
        return _draw_nothing(axes, panel.title())
    _draw_curves(axes, data, curves, markers=False)
    values = np.concatenate([curve.y for curve in curves])
    positive = values[values > 0]
    if positive.size and positive.max() > LOG_RANGE * positive.min():
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: style.compact(value)))
    width = loss_bin(data, panel)
    axes.set_xlabel("Training step" if width == 1 else f"Training step (each point: mean over {width} steps)")
    axes.set_ylabel("Training loss")
    axes.set_title(panel.title())
    return curves


def _draw_nothing(axes: Axes, title: str = "") -> list[Curve]:
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, "nothing measured yet", transform=axes.transAxes, ha="center", va="center", color=style.GREY)
    return []


def _draw_curves(axes: Axes, data: Data, curves: list[Curve], markers: bool = True) -> None:
    for depth, curve in enumerate(curves):
        look = _look(data, curve)
        if not np.isnan(curve.low).all():
            axes.fill_between(
                curve.x, curve.low, curve.high, color=look["color"], alpha=0.16, linewidth=0, zorder=2, label="_band"
            )
        axes.plot(
            curve.x, curve.y, **(look if markers else {**look, "marker": ""}), label=_label(data, curve),
            zorder=3 + depth / len(curves), clip_on=not markers,
        )


def _look(data: Data, curve: Curve) -> dict:
    model = _model_style(data, curve.model)
    variants = data.variants[curve.model]
    return {
        "color": style.shade(model.colour, variants.index(curve.variant), len(variants)), "linestyle": model.line,
        "marker": model.marker, "markersize": model.marker_size, "markeredgecolor": "white", "markeredgewidth": 0.8,
    }


def _label(data: Data, curve: Curve) -> str:
    label = _model_style(data, curve.model).label
    return f"{label}, {curve.variant}" if curve.variant else label


def _model_style(data: Data, model: str) -> style.ModelStyle:
    others = tuple(sorted(name for name in data.variants if name not in style.MODELS))
    return style.model_style(model, others)


def _accuracy_axis(axes: Axes, metric: str) -> None:
    name = style.METRICS[metric]
    axes.set_ylim(0, 1)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.set_ylabel(name[:1].upper() + name[1:])


def _log_axis(axes: Axes, values: np.ndarray) -> None:
    """Ticks at powers of ten, and between them where the axis spans few."""
    decades = np.log10(values.max() / values.min())
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if decades > 3 else (1.0, 3.0) if decades > 1 else (1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: style.compact(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _figure(size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _finish(figure: Figure, data: Data, title: str, curves: list[Curve]) -> None:
    """Title above, one legend for all panels below them, and under it what the bands are."""
    bottom = CAPTION_HEIGHT + draw_legend(figure, CAPTION_HEIGHT)
    width, height = figure.get_size_inches()
    height += bottom
    figure.set_size_inches(width, height)
    edge, inches = style.MARGIN, {"transform": figure.dpi_scale_trans, "ha": "left"}
    figure.text(edge, height - edge, title, fontsize=15, fontweight="bold", va="top", **inches)
    figure.text(edge, edge, _caption(data, curves), fontsize=9.5, color=style.GREY, va="bottom", **inches)
    figure.get_layout_engine().set(
        rect=(0, bottom / height, 1, 1 - (TITLE_HEIGHT + bottom) / height), w_pad=0.1, h_pad=0.06, wspace=0.03,
        hspace=0.04,
    )


def _caption(data: Data, curves: list[Curve]) -> str:
    bands = {curve.band for curve in curves}
    seeds = sorted({curve.seeds for curve in curves if curve.band == BAND_OF_SEEDS})
    parts = []
    if BAND_OF_SEEDS in bands:
        count = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        parts.append(f"Curves: mean over {count} seeds; bands: lowest to highest seed.")
    if BAND_OF_STRINGS in bands:
        one = "Curves of one seed" if BAND_OF_SEEDS in bands else "Bands"
        over = "strings" if trained_panels(data) else "prompts"
        parts.append(f"{one}: 95 % Wilson interval over {over}.")
    if len(data.finished) < data.jobs:
        parts.append(f"{len(data.finished)} of {data.jobs} jobs done.")
    return " ".join(parts)


@styled
def save(figure: Figure, path: Path, dpi: int = DPI) -> Figure:
    """Writes the whole file or nothing, so that a viewer never sees half a picture. The suffix names the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    figure.savefig(part, dpi=dpi, format=path.suffix[1:] or "png")
    os.replace(part, path)
    return figure


def save_all(
    data: Data, folder: Path, format: str = "png", metric: str | None = None, at_length: int | None = None
) -> list[Path]:
    """Draws every figure, those of training only where something was trained or nothing is measured yet; returns the
    files. Another metric than the default is part of the names."""
    suffix = f"-{metric.replace('_', '-')}" if metric else ""
    drawn = {f"length{suffix}": (length_figure(data, metric), DPI)}
    if trained_panels(data) or loss_panels(data) or not panels(data):
        drawn[f"efficiency{suffix}"] = (efficiency_figure(data, metric, at_length), DPI)
        drawn["loss"] = (loss_figure(data), DPI)
    drawn[f"overview{suffix}"] = (overview_figure(data, metric, at_length), OVERVIEW_DPI)
    paths = []
    for name, (figure, dpi) in drawn.items():
        paths.append(folder / f"{name}.{format}")
        save(figure, paths[-1], dpi)
    return paths
