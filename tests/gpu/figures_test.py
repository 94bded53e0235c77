"""The tables that are made of measured figures, and how a call measures them: on made-up programs and peers, no GPU."""

import json
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import compare_gpu
import figures
import figures_table
import pages
import pytest
from goals import COPY, CUDNN, GENERATE, GOALS, HERE, MAMBA, NEOX_COMPILED

BEGIN, END = "<!-- compare_gpu -->", "<!-- end of compare_gpu -->"
SCAN = {"B": 64, "T": 220, "D": 2048, "N": 32}


def row(operation="selective scan", shape=SCAN, direction="forward", microseconds=400.0, dtype="bf16", peers=None,
        flops=0, size=0) -> dict:
    return figures.with_peers({"operation": operation, "shape": shape, "dtype": dtype, "direction": direction,
                               "microseconds": microseconds, "bytes": size, "flops": flops}, peers or {})


def times(**microseconds: float) -> dict:
    return {name.replace("_", "-"): {"microseconds": time} for name, time in microseconds.items()}


def part(*rows: dict, device="NVIDIA H200") -> dict:
    return {"date": "2026-01-02", "device": device, "versions": {"torch": "2.11.0", "mamba-ssm": "not there"},
            "ceilings": {"product_flops_per_second": 8e14, "copy_bytes_per_second": 4e12}, "rows": list(rows)}


def attention(position: str, microseconds: float, peers=None, direction="forward") -> dict:
    shape = {"B": 64, "H": 16, "T": 220, "d": 64, "position": position}
    return row("attention", shape, direction, microseconds, peers=peers)


def text(model: str, microseconds: float, peers=None, batch=1, size=0) -> dict:
    shape = {"model": model, "B": batch, "prompt": 128, "tokens": 128}
    return row("generation", shape, "token", microseconds, peers=peers, size=size)


def only_goal(of: dict) -> figures.Goal:
    [goal] = figures.goals_of(of)
    return goal


def test_the_ratio_is_to_the_fastest_peer_that_was_measured():
    found = row(microseconds=300, peers=times(slow=900, fast=600) | {"broken": {"error": "no such kernel"}})
    assert (found["peer"], found["ratio"]) == ("fast", 0.5)
    alone = row(peers={"broken": {"error": "no such kernel"}})
    assert (alone["peer"], alone["ratio"]) == (None, None)


def test_the_share_is_of_the_nearer_ceiling():
    limits = part()["ceilings"]
    assert figures.share_of_ceiling(row(microseconds=100, size=2e8, flops=1e9), limits) == pytest.approx(0.5)
    assert figures.share_of_ceiling(row(microseconds=100, size=4, flops=6e10), limits) == pytest.approx(0.75)


@pytest.mark.parametrize("ours, peer, said", [(400, 1926, "met"), (401, 1926, "not met"), (500, 2600, "met")])
def test_a_goal_moves_with_the_peer_of_the_same_call(ours, peer, said):
    of = row(microseconds=ours, peers=times(mamba_ssm=peer))
    assert figures.verdict(only_goal(of), of, part(of)) == said


def test_a_goal_whose_peer_failed_is_neither_met_nor_not():
    of = row(peers={MAMBA: {"error": "no module"}})
    assert figures.verdict(only_goal(of), of, part(of)) == "peer not measured"


@pytest.mark.parametrize("position", ["RoPE", "ALiBi"])
def test_positions_are_to_cost_nothing_beside_the_peer_without_them(position):
    plain = attention("none", 90, {CUDNN: {"microseconds": 82}})
    for microseconds, said in ((80, "met"), (80.1, "not met")):
        of = attention(position, microseconds, {"SDPA with bias": {"microseconds": 1}})
        assert figures.verdict(only_goal(of), of, part(plain, of)) == said
    assert figures.verdict(only_goal(of), of, part(of)) == "peer not measured"


def test_windows_are_measured_by_our_own_time_without_positions():
    plain, of = attention("none", 100), attention("Hard-ALiBi", 70)
    assert only_goal(of).than == HERE
    assert figures.verdict(only_goal(of), of, part(plain, of)) == "met"
    assert figures.verdict(only_goal(of), of | {"microseconds": 70.1}, part(plain, of)) == "not met"


def test_a_goal_without_a_peer_holds_on_its_own_device_alone():
    of = row("training step", {"model": "rope", "B": 8, "T": 220}, "step", 5900)
    assert figures.verdict(only_goal(of), of, part(of)) == "met"
    assert figures.verdict(only_goal(of), of, part(of, device="NVIDIA H100 80GB HBM3")) == "holds for an H200"


def test_one_text_is_to_be_three_times_as_fast_as_the_generate_that_users_call():
    peers = {GENERATE: {"microseconds": 3000}, "compiled": {"microseconds": 900}}
    for microseconds, said in ((1000, "met"), (1001, "not met")):
        of = text("pythia-410m", microseconds, peers)
        assert figures.verdict(only_goal(of), of, part(of)) == said
    assert figures.goals_of(text("pythia-410m", 1000, peers, batch=32)) == []


@pytest.mark.parametrize("device", ["NVIDIA H200", "NVIDIA H100 80GB HBM3"])
def test_a_goal_may_be_a_share_of_the_rate_of_a_copy_in_the_same_call(device):
    for microseconds, said in ((2000, "met"), (2001, "not met")):
        of = text("pythia-2.8b", microseconds, size=4.8e9)  # a copy here: 1200 microseconds
        assert only_goal(of).than == COPY
        assert figures.verdict(only_goal(of), of, part(of, device=device)) == said
    assert figures.share_of_ceiling(text("pythia-2.8b", 2000, size=4.8e9), part()["ceilings"]) == pytest.approx(0.6)


def test_every_goal_is_of_a_row_that_is_measured():
    """Of steps, whose shapes are Python's; those of kernels are in the programs."""
    steps = [row("training step", shape, "step", dtype=dtype) for shape, dtype in compare_gpu.STEPS]
    for goal in (goal for goal in GOALS if goal.operation == "training step"):
        of = [step for step in steps if goal.is_of(step)]
        assert len(of) == 1, goal
        assert not goal.at or [step for step in steps if step["shape"] == of[0]["shape"] | goal.at], goal


def test_forward_and_backward_share_a_line():
    forward = row(microseconds=300, size=6e8, peers=times(mamba_ssm=1926))
    backward = row(direction="backward", microseconds=1600.4, size=6.4e8, peers=times(mamba_ssm=5847))
    text = figures_table.table("kernels", part(forward, backward), ["selective scan"])
    assert "2026-01-02, NVIDIA H200; torch 2.11.0, mamba-ssm not there." in text
    assert "Medians in microseconds." in text and "800 TFLOP/s, a copy 4.00 TB/s" in text
    assert text.splitlines()[-1] == (
        "| B 64, T 220, D 2048, N 32, bf16 | 300 / 1600 | 0.50 / 0.10 | mamba-ssm 1926 / 5847 | 0.16 / 0.27 "
        "| <= 0.21 / <= 0.26 of mamba-ssm | met / not met |")


def test_a_line_without_peers_or_goal():
    shape = {"n": 1000, "bf16 weights": True}
    of = row("AdamW", shape, "step", 9.96, "float32", size=4e6)
    text = figures_table.table("kernels", part(of), ["GELU", "AdamW"])
    assert text.splitlines()[-1] == "| AdamW, n 1000, bf16 weights, float32 | 10.0 | 0.10 |  |  |  |  |"


def test_steps_are_in_milliseconds_and_have_a_second_goal():
    shape = {"model": "rope", "B": 64, "T": 220, "layers": 12}
    of = row("training step", shape, "step", 29000, peers={NEOX_COMPILED: {"microseconds": 38500}})
    assert figures_table.table("steps", part(of), ["training step"]).splitlines()[-1] == (
        f"| rope, B 64, T 220, layers 12, bf16 | 29.0 | 0.00 | {NEOX_COMPILED} 38.5 | 0.75 "
        f"| <= 0.78 of {NEOX_COMPILED}, then <= 0.70 of {NEOX_COMPILED} | met, then not met |")


@pytest.mark.parametrize("of, said", [
    (row("training step", {"model": "rope", "B": 8}, "step"), "<= 6.0 milliseconds on an H200"),
    (attention("Hard-ALiBi", 70), "<= 0.70 of ours (no position)"),
    (text("pythia-410m", 600), f"<= 0.33 of {GENERATE}"),
    (text("pythia-2.8b", 2000), ">= 0.60 of a copy's rate"),
    (attention("ALiBi", 70), f"<= 0.98 of {CUDNN} (no position)")])
def test_a_goal_says_what_it_is_of(of, said):
    part = "steps" if of["operation"] == "training step" else "kernels"
    assert figures_table.goal_text((only_goal(of),), part) == said


def test_texts_have_a_table_beside_that_of_the_steps(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(figures_table, "PAGES", {"page.md": figures_table.PAGES["docs/measurements.md"]})
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    step = row("training step", {"model": "rope", "B": 64}, "step", 29000)
    token = text("pythia-410m", 620.4, {GENERATE: {"microseconds": 15000}}, size=8e8)
    figures_table.write_pages({"parts": {"text": part(token), "steps": part(step)}}, tmp_path)
    steps, texts = page.read_text().split("\n\n2026-01-02, ")
    assert "| a training step | here |" in steps and "\n| rope, B 64, bf16 | 29.0 |" in steps
    assert "Medians in microseconds." in texts and "| a token of generated text | here |" in texts
    assert (f"\n| pythia-410m, B 1, prompt 128, tokens 128, bf16 | 620 | 0.32 | {GENERATE} 15000 | 0.04 "
            f"| <= 0.33 of {GENERATE} | met |\n{END}\n") in texts


def test_why_a_peer_has_no_time_stands_under_the_table_once():
    broken = {"flash": {"error": "RuntimeError: no kernel"}}
    text = figures_table.table("kernels", part(row(peers=broken), row(direction="backward", peers=broken)),
                               ["selective scan"])
    assert "| flash failed |" in text
    assert text.endswith("Peers without a time:\n\n- flash: RuntimeError: no kernel")


def test_pages_without_rows_stay_as_they_are(tmp_path: Path):
    for page in figures_table.PAGES:
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / page).write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    changed = figures_table.write_pages({"parts": {"kernels": part(row())}}, tmp_path)
    assert changed == ["kernels/selective_scan/GPU.md"]
    text = (tmp_path / changed[0]).read_text()
    assert text.startswith(f"before\n{BEGIN}\n2026-01-02") and text.endswith("\nafter\n")
    assert "old" not in text
    assert "old" in (tmp_path / "docs/measurements.md").read_text()


@pytest.mark.parametrize("page", ["", "<!-- compare_gpu -->", "<!-- end of compare_gpu --><!-- compare_gpu -->"])
def test_a_page_without_its_markers_is_refused(page):
    with pytest.raises(ValueError, match="needs <!-- compare_gpu --> once"):
        pages.replaced(page, "text", figures_table.MARKER)


@pytest.mark.parametrize("page", figures_table.PAGES)
def test_the_pages_have_their_markers(page):
    text = (figures_table.ROOT / page).read_text()
    assert "new" in pages.replaced(text, "new", figures_table.MARKER)


def program(folder: Path, name: str, *lines: dict, status: int = 0) -> None:
    text = "\n".join(json.dumps(line) for line in lines)
    (folder / name).write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\necho 'what went wrong' >&2\nexit {status}\n")
    (folder / name).chmod(stat.S_IRWXU)


def bench_row(operation: str, direction: str) -> dict:
    return {"operation": operation, "shape": {"B": 1}, "dtype": "bf16", "direction": direction, "microseconds": 1,
            "bytes": 1, "flops": 0}


def test_rows_come_from_the_programs_and_one_that_fails_is_no_end(tmp_path: Path):
    for kernel in compare_gpu.KERNELS[1:]:
        program(tmp_path, f"gpu_{kernel}_bench", bench_row("copy", "step"), bench_row(kernel, "forward"))
    program(tmp_path, "gpu_gelu_bench", status=1)
    program(tmp_path, "gpu_attention_bench", bench_row("copy", "step"), bench_row("attention", "step"),
            bench_row("attention", "backward"))
    run = compare_gpu.Run(tmp_path, 0.1, 1)
    found = [(found["operation"], found["direction"]) for found in compare_gpu.rows_of_benches(run, "kernels")]
    assert found == [("copy", "step"), ("attention", "backward")] + [
        (kernel, "forward") for kernel in compare_gpu.KERNELS[1:] if kernel != "gelu"]
    assert run.failed == ["what went wrong: gpu_gelu_bench"]
    assert [found["operation"] for found in compare_gpu.rows_of_benches(run, "generation")][0] == "attention"
    assert compare_gpu.rows_of_benches(compare_gpu.Run(tmp_path / "none", 0.1, 1), "kernels") == []


def test_a_step_of_recite_is_read_from_its_json(tmp_path: Path):
    (tmp_path / "recite").write_text("""#!/bin/sh
for last; do true; done
echo "$@" > "$0.arguments"
echo '{"rows": [{"what": "attention, forward", "seconds": 9}, {"what": "training step, hard_alibi", "seconds": 0.03,
      "bytes": 0, "flops": 5}]}' > "$last"
""")
    (tmp_path / "recite").chmod(stat.S_IRWXU)
    run = compare_gpu.Run(tmp_path, 0.25, 1)
    shape = compare_gpu.step_shape("hard_alibi", 12, heads=16)
    assert compare_gpu.step_of_recite(run, shape, "bf16") == {
        "operation": "training step", "shape": shape, "dtype": "bf16", "direction": "step", "microseconds": 30000,
        "bytes": 0, "flops": 5}
    asked = (tmp_path / "recite.arguments").read_text()
    for option in ("bench --model=hard_alibi --train.batch_size=64 --train.context_length=220 --layers=12",
                   "--hidden_size=1024 --heads=16 --num_masked_heads=8", "--train.precision=bf16 --run.device=cuda",
                   "--seconds=0.25 --json "):
        assert option in asked
    assert compare_gpu.step_of_recite(compare_gpu.Run(tmp_path / "none", 0.1, 1), shape, "bf16") is None


def test_each_text_of_the_program_is_set_beside_its_own_peers(tmp_path: Path, monkeypatch):
    rows = [text(model, 600, batch=batch) for model, batch in (("pythia-410m", 1), ("mamba-2.8b", 32))]
    program(tmp_path, "gpu_generation_bench", *rows)

    def peers(shape: dict, seconds: float) -> dict:
        assert seconds == 0.1
        return {shape["model"]: lambda: {"token": 1200.0 * shape["B"]}}
    monkeypatch.setattr(compare_gpu, "clear", lambda: None)
    monkeypatch.setitem(sys.modules, "generation_peers", SimpleNamespace(peers=peers))
    found = list(compare_gpu.compare_text(compare_gpu.Run(tmp_path, 0.1, 1)))
    assert [(of["shape"]["model"], of["peer"], of["ratio"]) for of in found] == [
        ("pythia-410m", "pythia-410m", 1 / 2), ("mamba-2.8b", "mamba-2.8b", 1 / 64)]
    assert list(compare_gpu.compare_text(compare_gpu.Run(tmp_path / "none", 0.1, 1))) == []


def test_a_call_that_ends_early_keeps_its_rows_and_the_part_that_was_there(tmp_path: Path):
    path, old, new = tmp_path / "figures.json", {"rows": [1, 2, 3]}, {"rows": [4]}

    def cut_off():
        yield new
        raise KeyboardInterrupt
    path.write_text(json.dumps({"parts": {"steps": old, "text": old}}))
    with pytest.raises(KeyboardInterrupt):
        compare_gpu.keep(cut_off(), "steps", path)
    assert json.loads(path.read_text()) == {"parts": {"steps": old, "text": old}, "unfinished": {"steps": new}}
    compare_gpu.keep(iter([new, old | new]), "steps", path)
    assert json.loads(path.read_text()) == {"parts": {"steps": new, "text": old}}
    compare_gpu.keep(iter([]), "text", path)
    assert json.loads(path.read_text()) == {"parts": {"steps": new, "text": old}}


def test_a_peer_that_fails_is_recorded_and_none_begins_after_the_end(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(compare_gpu, "clear", lambda: None)

    def fails():
        raise RuntimeError("no kernel\nfor this")
    peers = {"bad": fails, "good": lambda: {"forward": 2.0}}
    found = compare_gpu.measured(compare_gpu.Run(tmp_path, 0.1, 1), peers)
    assert found == {"bad": {"error": "RuntimeError: no kernel"}, "good": {"forward": 2.0}}
    assert compare_gpu.of_direction(found, "forward") == {"bad": found["bad"], "good": {"microseconds": 2.0}}
    late = compare_gpu.measured(compare_gpu.Run(tmp_path, 0.1, 0), peers)
    assert late == dict.fromkeys(peers, {"error": "no time was left"})
