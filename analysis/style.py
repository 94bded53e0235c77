"""One look for every figure: the same model has the same colour, line, marker and name everywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from matplotlib.colors import to_hex, to_rgb


@dataclass(frozen=True)
class ModelStyle:
    label: str
    colour: str
    line: Any  # solid: transformer, dashed: state-space model, dotted: LSTM
    marker: str
    marker_size: float = 7.0  # points


SOLID, DASHED, DOTTED = "-", (0, (5, 1.8)), (0, (1, 1.4))

# The colours of Okabe and Ito, which colour-blind readers can tell apart.
MODELS = {
    "rope": ModelStyle("RoPE", "#0072B2", SOLID, "o"),
    "nope": ModelStyle("NoPE", "#56B4E9", SOLID, "s", 6.5),
    "alibi": ModelStyle("ALiBi", "#CC79A7", SOLID, "^", 8.0),
    "hard_alibi": ModelStyle("Hard-ALiBi", "#009E73", SOLID, "D", 6.5),
    "mamba": ModelStyle("Mamba", "#D55E00", DASHED, "v", 8.0),
    "lstm": ModelStyle("LSTM", "#4D4D4D", DOTTED, "P", 8.5),
}

# Pretrained models, known by the name of their folder: one hue a family, the darker the larger.
FAMILIES = {
    "pythia": ("#0072B2", SOLID, ("o", "s", "^", "D")),
    "mamba": ("#D55E00", DASHED, ("v", "P", "X", "p")),
}
OTHERS = (("#E69F00", "X"), ("#7B5EA7", "p"), ("#8C6D31", "h"), ("#1B7F8C", "<"))

TASKS = {
    "copy": "copy", "prefix_ngram": "prefix {n}-gram look-up", "suffix_ngram": "suffix {n}-gram look-up",
    "duplicate_ngram": "copy, duplicated {n}-gram", "c4_copy": "C4 copy", "c4_copy_shuffled": "C4 copy, shuffled",
    "phone_book": "phone book", "squad": "SQuAD",
}

# What the length of a task of text counts.
LENGTHS = {
    "c4_copy": "Tokens to copy", "c4_copy_shuffled": "Tokens to copy", "phone_book": "Entries in the phone book",
    "squad": "Tokens of the passage, at most",
}

# How an option is told in a legend; others as "layers 12".
OPTIONS = {
    "train.learning_rate": "lr {}", "model.layers": "{} layers", "model.hidden_size": "width {}",
    "model.heads": "{} heads", "model.num_masked_heads": "{} masked heads", "model.state_dim": "state {}",
    "train.batch_size": "batch {}", "train.steps": "{} steps", "train.max_length": "trained to {}",
    "train.min_length": "trained from {}", "train.context_length": "context {}", "train.precision": "{}",
    "task.kind": "trained on {}", "task.n_gram": "trained with n = {}", "task.vocab_size": "{} letters",
    "model.dropout": "dropout {}", "train.weight_decay": "weight decay {}", "train.warmup_steps": "warm-up {}",
}

METRICS = {
    "string_accuracy": "string accuracy", "char_accuracy": "character accuracy", "exact_match": "exact match",
    "f1": "F1",
}

MARGIN = 0.16  # inches between the edge of a figure and its title, legend and caption
GREY = "#6B6B6B"
TRAINED = "#EEF1F4"  # background of the lengths that were trained

RC = {
    "font.family": "DejaVu Sans", "font.size": 11, "axes.titlesize": 12, "axes.labelsize": 11.5,
    "xtick.labelsize": 10.5, "ytick.labelsize": 10.5, "legend.fontsize": 11,
    "axes.edgecolor": "#3A3A3A", "axes.linewidth": 0.9, "axes.spines.top": False, "axes.spines.right": False,
    "axes.titlelocation": "left", "axes.titlepad": 10, "axes.labelpad": 6, "axes.axisbelow": True,
    "axes.grid": True, "axes.grid.axis": "y", "grid.color": "#DADDE1", "grid.linewidth": 0.8,
    "xtick.color": "#3A3A3A", "ytick.color": "#3A3A3A", "legend.frameon": False, "legend.handlelength": 2.8,
    "lines.linewidth": 2.2, "lines.solid_capstyle": "round",
    "pdf.fonttype": 42, "svg.hashsalt": "recite",
}


def model_style(model: str, others: tuple[str, ...] = ()) -> ModelStyle:
    """A model that is not known takes its place among `others`, the unknown models of the file."""
    if model in MODELS:
        return MODELS[model]
    label, family = model.rsplit("/", 1)[-1], family_of(model)
    alike = sorted({model, *(other for other in others if family_of(other) == family)}, key=model_order)
    place = alike.index(model)
    if not family:
        colour, marker = OTHERS[place % len(OTHERS)]
        return ModelStyle(label, colour, SOLID, marker)
    hue, line, markers = FAMILIES[family]
    return ModelStyle(label, shade(hue, len(alike) - 1 - place, len(alike)), line, markers[place % len(markers)])


def family_of(model: str) -> str:
    """Of a pretrained model: pythia, mamba, or "" for any other."""
    return next((family for family in FAMILIES if family in model.lower()), "")


def size_of(model: str) -> float:
    """The parameters that the name of a pretrained model speaks of: 410m, 2.8b; 0 where it does not."""
    found = re.search(r"(\d+(?:\.\d+)?)([mb])(?![a-z])", model.lower())
    return float(found[1]) * {"m": 1e6, "b": 1e9}[found[2]] if found else 0.0


def model_order(model: str) -> tuple[int, float, str]:
    """For sorting: the models of MODELS in that order, then families by size, then the others by name."""
    if model in MODELS:
        return list(MODELS).index(model), 0.0, model
    family = family_of(model)
    place = list(FAMILIES).index(family) if family else len(FAMILIES)
    return len(MODELS) + place, size_of(model), model


def shade(colour: str, index: int, count: int) -> str:
    """Variant `index` of `count` of one model: the same hue, from dark to light."""
    towards_white = -0.35 + 0.85 * index / (count - 1) if count > 1 else 0.0
    target, share = (1.0, towards_white) if towards_white > 0 else (0.0, -towards_white)
    return to_hex([channel + (target - channel) * share for channel in to_rgb(colour)])


def task_label(task: str, n_gram: int) -> str:
    return TASKS.get(task, task.replace("_", " ")).format(n=n_gram)


def option_label(name: str, value: Any) -> str:
    text = number(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)
    if name in OPTIONS:
        return OPTIONS[name].format(text.replace("_", " "))
    return f"{name.rsplit('.', 1)[-1].replace('_', ' ')} {text}"


def number(value: float) -> str:
    """0.0001 as 1e-4, 0.05 and 300 as they are."""
    text = f"{value:g}" if value == 0 or abs(value) >= 0.01 else f"{value:.6e}"
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def compact(value: float) -> str:
    """1500 as 1.5k, for axes and tables."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def title_of(sweep: str) -> str:
    """The sweep's name as a heading: length-generalisation -> Length generalisation, one-gpu -> One GPU."""
    text = re.sub(r"\bgpu(?=s?\b)", "GPU", sweep.replace("-", " ").replace("_", " ").strip())
    return text[:1].upper() + text[1:]
