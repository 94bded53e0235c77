"""The figures that compare_gpu.py measures and figures_table.py makes tables of: rows, ratios, and goals met or not.

The file has parts (kernels, generation, steps, text), each measured in one call: {date, device, versions, ceilings,
rows}. A row is {operation, shape, dtype, direction, microseconds, bytes, flops, peers, peer, ratio}: peers are {name:
{microseconds} or {error}}, `peer` is the fastest of them, and ratio our time divided by its time.
"""

from goals import COPY, GOALS, HERE, Goal

NOT_BEGUN = {"error": "no time was left"}  # a peer, when the call's time was over


def with_peers(row: dict, peers: dict[str, dict]) -> dict:
    measured = {name: peer["microseconds"] for name, peer in peers.items() if "microseconds" in peer}
    best = min(measured, key=measured.get, default=None)
    return row | {"peers": peers, "peer": best, "ratio": row["microseconds"] / measured[best] if best else None}


def share_of_ceiling(row: dict, ceilings: dict) -> float:
    """Of the nearer one, the matrix product or the copy; 0 when the row says neither FLOP nor bytes."""
    return max(row["bytes"] / ceilings["copy_bytes_per_second"],
               row["flops"] / ceilings["product_flops_per_second"]) / (row["microseconds"] * 1e-6)


def goals_of(row: dict) -> list[Goal]:
    return [goal for goal in GOALS if goal.is_of(row)]


def peer_microseconds(goal: Goal, row: dict, part: dict) -> float | None:
    """What the goal's peer took in this call; None when that was not measured."""
    if goal.than == COPY:
        return 1e6 * row["bytes"] / part["ceilings"]["copy_bytes_per_second"]
    for other in part["rows"]:
        if (all(other[name] == row[name] for name in ("operation", "dtype", "direction"))
                and other["shape"] == row["shape"] | goal.at):
            return other["microseconds"] if goal.than == HERE else other["peers"].get(goal.than, {}).get("microseconds")
    return None


def most_microseconds(goal: Goal, row: dict, part: dict) -> float | None:
    if goal.than is None:
        return goal.goal
    time = peer_microseconds(goal, row, part)
    return None if time is None else goal.goal / goal.then * time


def verdict(goal: Goal, row: dict, part: dict) -> str:
    most = most_microseconds(goal, row, part)
    if most is None:
        return "peer not measured"
    if goal.than is None and "H200" not in part["device"]:
        return "holds for an H200"
    return "met" if row["microseconds"] <= most else "not met"
