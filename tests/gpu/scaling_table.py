"""The tables of what scaling.py measured: efficiencies, sums, and the goals."""

from dataclasses import dataclass

MARKER = "scaling"  # of the page
GOAL_EFFICIENCY, GOAL_GPUS, GOAL_ROWS = 0.9, 8, 512  # of one job
GOAL_JOBS = 0.97  # of a sweep, for each GPU


def efficiency(times: dict, model: str, gpus: int, batch: int) -> float | None:
    """Strong scaling: of the time of one GPU at the same batch. `times`: {(model, GPUs, batch): milliseconds}."""
    one, all_of_them = times.get((model, 1, batch)), times.get((model, gpus, batch))
    return one / (gpus * all_of_them) if one and all_of_them else None


def weak_efficiency(times: dict, model: str, gpus: int, rows: int) -> float | None:
    one, all_of_them = times.get((model, 1, rows)), times.get((model, gpus, rows * gpus))
    return one / all_of_them if one and all_of_them else None


@dataclass(frozen=True)
class Exchange:
    """Of a step's gradients and weights among ranks, milliseconds: what the collectives take alone, and what AdamW
    takes less of a share than of all."""
    alone: float
    saved: float


def hidden_share(times: dict, model: str, gpus: int, batch: int, exchange: Exchange | None) -> float | None:
    """Of the collectives: what a step takes no longer than on one GPU that has one GPU's part of the batch."""
    one, all_of_them = times.get((model, 1, batch / gpus)), times.get((model, gpus, batch))
    if not (one and all_of_them and exchange):
        return None
    return 1 - (all_of_them - (one - exchange.saved)) / exchange.alone


def milliseconds_of(sums: list[dict], operation: str, gpus: int, size: int) -> float | None:
    """At the rate of the most bytes that were timed."""
    of = [row for row in sums if (row["operation"], row["ranks"]) == (operation, gpus)]
    largest = max(of, key=lambda row: row["bytes"], default=None)
    return largest and size / largest["bytes"] * 1e-3 * largest["microseconds"]


def exchange_of(sums: list[dict], gpus: int, parameters: int) -> Exchange | None:
    """Of float32 gradients and bf16 weights."""
    found = [milliseconds_of(sums, "reduce-scatter", gpus, 4 * parameters),
             milliseconds_of(sums, "all-gather", gpus, 2 * parameters),
             milliseconds_of(sums, "AdamW", 1, 4 * parameters), milliseconds_of(sums, "AdamW", gpus, 4 * parameters)]
    if None in found:
        return None
    reduce_scatter, all_gather, of_all, of_share = found
    return Exchange(reduce_scatter + all_gather, of_all - of_share)


def over(texts) -> str:
    return " / ".join(texts)


def number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def verdict(met: bool) -> str:
    return "met" if met else "not met"


def steps_table(rows: list[dict], sums: list[dict]) -> list[str]:
    times = {(row["model"], row["gpus"], row["batch"]): row["milliseconds"] for row in rows}
    parameters = {row["model"]: row["parameters"] for row in rows}
    counts = sorted({row["gpus"] for row in rows})
    strong = sorted({row["batch"] for row in rows if row["strong"]})
    each = min(strong)  # rows of each GPU, under weak scaling
    lines = [f"| one job on {over(map(str, counts))} GPUs | ms a step | efficiency | sums and gathers alone, "
             f"ms | of them hidden | goal | |", "|---|---|---|---|---|---|---|"]
    for model, size in sorted(parameters.items(), reverse=True):
        exchanges = {n: exchange_of(sums, n, size) for n in counts}
        for rows_of_step, weak in [*((batch, False) for batch in strong), (each, True)]:
            batches = {n: rows_of_step * (n if weak else 1) for n in counts}
            found = [(weak_efficiency if weak else efficiency)(times, model, n, rows_of_step) for n in counts]
            goal = not weak and rows_of_step == GOAL_ROWS
            met = verdict((found[-1] or 0) >= GOAL_EFFICIENCY) if counts[-1] == GOAL_GPUS else "not measured"
            lines.append("| " + " | ".join([
                f"{model}, {rows_of_step} rows{' a GPU' if weak else ''}",
                over(number(times.get((model, n, batches[n]))) for n in counts), over(map(number, found)),
                over(number(exchanges[n] and exchanges[n].alone) for n in counts[1:]),
                over(number(hidden_share(times, model, n, batches[n], exchanges[n])) for n in counts[1:]),
                f">= {GOAL_EFFICIENCY:.2f} on {GOAL_GPUS}" if goal else "", met if goal else ""]) + " |")
    return lines


def sums_table(rows: list[dict]) -> list[str]:
    found = {(row["operation"], row["bytes"], row["ranks"]): row for row in rows}
    counts = sorted({row["ranks"] for row in rows if row["operation"] != "AdamW"})
    lines = [f"| on {over(map(str, counts))} GPUs | microseconds | bus, GB/s |", "|---|---|---|"]
    for operation, size in sorted({(operation, size) for operation, size, _ in found if operation != "AdamW"}):
        of = [found.get((operation, size, n)) for n in counts]
        times = [number(row and row["microseconds"], 0) for row in of]
        rates = [number(row and 1e-9 * row["bus_bytes_per_second"], 0) for row in of]
        lines.append(f"| {operation} of {1e-6 * size:.1f} MB | {over(times)} | {over(rates)} |")
    for size in sorted({size for operation, size, _ in found if operation == "AdamW"}):
        times = {n: found.get(("AdamW", size, n), {}).get("microseconds") for n in [1, *counts]}
        lines.append(f"| AdamW of a rank's share of {1e-6 * size:.1f} MB of gradients; of all of them "
                     f"{number(times[1], 0)} | {over(number(times[n], 0) for n in counts)} | |")
    return lines


def losses_lines(rows: list[dict]) -> list[str]:
    lines = []
    for row in rows:
        found = "the same bits" if row["same_bits"] else f"largest relative difference {row['largest']:.1e}"
        goal = f"the same bits | {verdict(row['same_bits'])}" if row["ranks_per_job"] == 1 else "|"
        lines.append(f"| losses in float32, ranks_per_job {row['ranks_per_job']}, against one GPU, {row['steps']} "
                     f"steps | {found} | {goal} |")
    return lines


def boards_lines(rows: list[dict]) -> list[str]:
    return [f"| {row['model']}, {row['batch']} rows, on each of {len(row['milliseconds'])} GPUs at once, none with "
            f"another | {over(map(number, row['milliseconds']))} ms a step | | |" for row in rows]


def jobs_lines(rows: list[dict]) -> list[str]:
    one, several = rows
    rates = [3600 * row["jobs"] / row["seconds"] for row in rows]
    gain, goal = rates[1] / rates[0], GOAL_JOBS * several["gpus"]
    return [f"| small equal jobs an hour, on {one['gpus']} / {several['gpus']} GPUs | {rates[0]:.0f} / {rates[1]:.0f}: "
            f"{gain:.2f} times | >= {goal:.2f} times | {verdict(gain >= goal)} |"]


def fault_lines(rows: list[dict]) -> list[str]:
    lines = []
    for row in rows:
        met = row["all_done"] and row["went_on_to_the_end"] and row["others_never_stopped"]
        others = "never stopped" if row["others_never_stopped"] else "STOPPED"
        others += "" if row["others_were_at_work"] else ", but were not at work when the rank was lost"
        shown = row["others_were_at_work"] or not row["others_never_stopped"]
        end = verdict(met) if shown else "not measured"
        lines.append(f"| a rank killed: {row['workers']} workers, ranks_per_job {row['ranks_per_job']}, jobs of "
                     f"{row['steps']} steps | after step {row['killed_after']}, went on at step {row['went_on_at']}; "
                     f"other jobs ({row['others']}) {others} | all done, others never stopped | {end} |")
    return lines


LINES = {"losses": losses_lines, "boards": boards_lines, "jobs": jobs_lines, "fault": fault_lines}


def heading(part: dict) -> str:
    return f"{part['date']}, {part['gpus']} x {part['device']}; {', '.join(part['versions'])}."


def tables(parts: dict[str, dict]) -> str:
    calls: dict[str, list[str]] = {}
    for name, part in parts.items():
        calls.setdefault(heading(part), []).append(name)
    headings = list(calls) if len(calls) < 2 else [f"- {', '.join(names)}: {call}" for call, names in calls.items()]
    blocks = [headings]
    sums = parts.get("sums", {"rows": []})["rows"]
    if "steps" in parts:
        same = not sums or heading(parts["steps"]) == heading(parts["sums"])
        blocks.append(steps_table(parts["steps"]["rows"], sums if same else []))
    if sums:
        blocks.append(sums_table(sums))
    lines = [line for name, text in LINES.items() if name in parts for line in text(parts[name]["rows"])]
    if lines:
        blocks.append(["| what | result | goal | |", "|---|---|---|---|", *lines])
    return "\n\n".join("\n".join(block) for block in blocks)
