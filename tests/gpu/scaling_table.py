"""The tables of what scaling.py measured: efficiencies, sums, and the goals."""

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


def hidden_share(times: dict, model: str, gpus: int, batch: int, sums: float | None) -> float | None:
    """Of the all-reduces, whose time alone is `sums` milliseconds: what a step takes no longer than on one GPU that has
    one GPU's part of the batch."""
    one, all_of_them = times.get((model, 1, batch / gpus)), times.get((model, gpus, batch))
    return 1 - (all_of_them - one) / sums if one and all_of_them and sums else None


def milliseconds_of_sums(sums: list[dict], gpus: int, parameters: int) -> float | None:
    """Of float32 gradients, at the rate of the largest sum that was timed."""
    largest = max((row for row in sums if row["ranks"] == gpus), key=lambda row: row["bytes"], default=None)
    return largest and 4 * parameters / largest["bytes"] * 1e-3 * largest["microseconds"]


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
    lines = [f"| one job on {over(map(str, counts))} GPUs | ms a step | efficiency | all-reduces alone, ms | of them "
             f"hidden | goal | |", "|---|---|---|---|---|---|---|"]
    for model, size in sorted(parameters.items(), reverse=True):
        alone = {n: milliseconds_of_sums(sums, n, size) for n in counts}
        for rows_of_step, weak in [*((batch, False) for batch in strong), (each, True)]:
            batches = {n: rows_of_step * (n if weak else 1) for n in counts}
            found = [(weak_efficiency if weak else efficiency)(times, model, n, rows_of_step) for n in counts]
            goal = not weak and rows_of_step == GOAL_ROWS
            met = verdict((found[-1] or 0) >= GOAL_EFFICIENCY) if counts[-1] == GOAL_GPUS else "not measured"
            lines.append("| " + " | ".join([
                f"{model}, {rows_of_step} rows{' a GPU' if weak else ''}",
                over(number(times.get((model, n, batches[n]))) for n in counts), over(map(number, found)),
                over(number(alone[n]) for n in counts[1:]),
                over(number(hidden_share(times, model, n, batches[n], alone[n])) for n in counts[1:]),
                f">= {GOAL_EFFICIENCY:.2f} on {GOAL_GPUS}" if goal else "", met if goal else ""]) + " |")
    return lines


def sums_table(rows: list[dict]) -> list[str]:
    counts = sorted({row["ranks"] for row in rows})
    lines = [f"| all-reduce on {over(map(str, counts))} GPUs | microseconds | bus, GB/s |", "|---|---|---|"]
    for size in sorted({row["bytes"] for row in rows}):
        of_size = sorted((row for row in rows if row["bytes"] == size), key=lambda row: row["ranks"])
        lines.append(f"| {size / 1e6:.1f} MB | {over(number(row['microseconds'], 0) for row in of_size)} "
                     f"| {over(number(1e-9 * row['bus_bytes_per_second'], 0) for row in of_size)} |")
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
