"""The tables of the pages, from the figures that compare_gpu.py measured.

    .venv/bin/python tests/gpu/figures_table.py [--json docs/gpu_figures.json]

Replaces what stands between the markers of each page that has rows in the file; a page without rows stays as it is.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "support"))

from figures import NOT_BEGUN, goals_of, share_of_ceiling, verdict
from goals import COPY, HERE, Goal
from pages import replaced

ROOT = Path(__file__).resolve().parents[2]

MARKER = "compare_gpu"
PAGES = {"kernels/attention/GPU.md": ["attention"],
         "kernels/causal_conv1d/GPU.md": ["causal convolution"],
         "kernels/gelu/GPU.md": ["residual norm", "GELU", "squared norm", "AdamW"],
         "kernels/product/GPU.md": ["product of few rows"],
         "kernels/selective_scan/GPU.md": ["selective scan"],
         "docs/measurements.md": ["training step", "generation"]}
PARTS = {"kernels": "forward / backward", "generation": "a step of decoding", "steps": "a training step",
         "text": "a token of generated text"}
UNITS = {"kernels": (1, "microseconds"), "generation": (1, "microseconds"), "steps": (1e-3, "milliseconds"),
         "text": (1, "microseconds")}
NAMED_BY_PARTS = ("training step", "generation")


def shape_text(row: dict, operations: list[str]) -> str:
    """`bf16, B 64, T 220, ALiBi`, and the operation first where the page has several."""
    words = [row["operation"]] if len(operations) > 1 and row["operation"] not in NAMED_BY_PARTS else []
    for name, value in row["shape"].items():
        if value is True:
            words.append(name)
        elif value is not False:
            words.append({"none": "no position"}.get(value, value) if isinstance(value, str) else f"{name} {value}")
    return ", ".join(words + ([row["dtype"]] if row["dtype"] != "bytes" else []))


def time_text(microseconds: float, part: str) -> str:
    time = microseconds * UNITS[part][0]
    return f"{time:.0f}" if time >= 99.95 else f"{time:.1f}"


def once(texts: list[str]) -> str:
    """`a / b`, or `a` when all are the same."""
    return texts[0] if len(set(texts)) == 1 else " / ".join(texts)


def goal_text(goals: tuple[Goal, ...], part: str) -> str:
    """One goal, that of each direction: `<= 0.98 / <= 0.92 of cuDNN SDPA (no position)`."""
    first = goals[0]
    if first.than is None:
        return f"<= {once([time_text(goal.goal, part) for goal in goals])} {UNITS[part][1]} on an H200"
    if first.than == COPY:
        return f">= {once([f'{goal.then / goal.goal:.2f}' for goal in goals])} of a copy's rate"
    ratios = once([f"<= {goal.goal / goal.then:.2f}" for goal in goals])
    where = ", ".join({"none": "no position"}.get(value, value) for value in first.at.values())
    return f"{ratios} of {'ours' if first.than == HERE else first.than}{f' ({where})' if where else ''}"


def peer_text(peer: dict, part: str) -> str:
    if "microseconds" in peer:
        return time_text(peer["microseconds"], part)
    return "not measured" if peer == NOT_BEGUN else "failed"


def peers_text(group: list[dict], part: str) -> str:
    def of(name: str) -> str:
        peers = [row["peers"].get(name, {}) for row in group]
        return once([peer_text(peer, part) for peer in peers])
    return "; ".join(f"{name} {of(name)}" for name in group[0]["peers"])


def line(group: list[dict], name: str, part: dict, operations: list[str]) -> str:
    def over_directions(text) -> str:
        return " / ".join(text(row) for row in group)

    goals = list(zip(*(goals_of(row) for row in group)))  # for each goal, that of each direction
    columns = [
        shape_text(group[0], operations),
        over_directions(lambda row: time_text(row["microseconds"], name)),
        over_directions(lambda row: f"{share_of_ceiling(row, part['ceilings']):.2f}"),
        peers_text(group, name),
        over_directions(lambda row: f"{row['ratio']:.2f}") if all(row["ratio"] for row in group) else "",
        ", then ".join(goal_text(of_each, name) for of_each in goals),
        ", then ".join(once([verdict(goal, row, part) for goal, row in zip(of_each, group)]) for of_each in goals)]
    return "| " + " | ".join(columns) + " |"


def groups(rows: list[dict]) -> list[list[dict]]:
    """The forward and the backward of one operation at one shape together."""
    found: dict[str, list[dict]] = {}
    for row in rows:
        found.setdefault(json.dumps([row[name] for name in ("operation", "shape", "dtype")]), []).append(row)
    return list(found.values())


def failures(rows: list[dict]) -> list[str]:
    """Why peers have no time, each once."""
    reasons = {(name, peer["error"]) for row in rows for name, peer in row["peers"].items() if "error" in peer}
    return [f"- {name}: {error}" for name, error in sorted(reasons)]


def table(name: str, part: dict, operations: list[str]) -> str:
    """Of the part's rows of these operations; empty when there are none."""
    rows = [row for row in part["rows"] if row["operation"] in operations]
    if not rows:
        return ""
    versions = ", ".join(f"{library} {version}" for library, version in part["versions"].items())
    ceilings = part["ceilings"]
    lines = [f"{part['date']}, {part['device']}; {versions}.", f"Medians in {UNITS[name][1]}. In the same call a bf16"
             f" matrix product reached {ceilings['product_flops_per_second'] * 1e-12:.0f} TFLOP/s, a copy"
             f" {ceilings['copy_bytes_per_second'] * 1e-12:.2f} TB/s: these are the ceilings.", "",
             f"| {PARTS[name]} | here | of the nearer ceiling | peers | here, of the fastest peer's | goal | |",
             "|---|---|---|---|---|---|---|"]
    lines += [line(group, name, part, operations) for group in groups(rows)]
    return "\n".join(lines + (["", "Peers without a time:", "", *failures(rows)] if failures(rows) else []))


def write_pages(figures: dict, root: Path) -> list[str]:
    """The pages that it changed."""
    changed = []
    for page, operations in PAGES.items():
        parts = figures["parts"]
        tables = [text for name in PARTS if name in parts and (text := table(name, parts[name], operations))]
        if tables:
            path = root / page
            path.write_text(replaced(path.read_text(), "\n\n".join(tables), MARKER))
            changed.append(page)
    return changed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=ROOT / "docs/gpu_figures.json")
    given = parser.parse_args()
    print("\n".join(write_pages(json.loads(given.json.read_text()), ROOT)))


if __name__ == "__main__":
    main()
