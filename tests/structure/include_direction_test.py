"""The rooms of the code depend on each other in one direction, and each foreign library has its rooms.

The rules are the data below; everything else reads `#include` lines and compares.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A room includes itself and the rooms before it. `kernels` stands for all of kernels/, `main` for src/main.cpp.
ROOMS = [
    "base", "kernels", "jobs", "config", "comm", "tasks", "tokenizer", "prompts", "results", "ops", "models", "weights",
    "generate", "train", "eval", "pretrained", "bench", "sweep", "commands", "main",
]
TORCH_ROOMS = ["ops", "models", "weights", "generate", "train", "eval", "pretrained", "bench", "sweep", "commands"]

# The headers of a library (a regular expression on what is included), and who may include them.
LIBRARIES = [
    ("torch", r"(torch|ATen|c10|caffe2)/", TORCH_ROOMS),
    ("MPI", r"mpi(-ext)?\.h$", ["comm"]),
    ("NCCL", r"nccl\.h$", ["comm"]),
    ("HDF5", r"(hdf5|H5\w*)\.h$", ["results"]),
    ("Boost", r"boost/", ["config", "commands"]),
    ("utf8proc", r"utf8proc\.h$", ["tokenizer", "prompts"]),
]

SOURCES = {".h", ".cpp", ".cu", ".cuh"}
INCLUDE = re.compile(r"""^\s*#\s*include\s*(<|")([^">]+)[">]""", re.MULTILINE)


def room_of(path: str) -> str | None:
    """The room of a file named from the root of the repository; None outside src/ and kernels/."""
    parts = path.split("/")
    if parts[0] == "kernels":
        return "kernels"
    if parts[0] == "src":
        return parts[1] if len(parts) > 2 else "main"
    return None


def room_of_include(root: Path, source: Path, name: str) -> str | None:
    """The room that an include names, by the search path of the compiler; None for headers from elsewhere."""
    for folder in (source.parent, root / "src", root):
        target = (folder / name).resolve()
        if target.is_file() and target.is_relative_to(root):
            return room_of(target.relative_to(root).as_posix())
    # A header that is missing, or made by the build, still names its room.
    first = name.split("/")[0]
    return first if first in ROOMS and "/" in name else None


def wrong_room(room: str, other: str) -> bool:
    return other not in ROOMS or ROOMS.index(other) > ROOMS.index(room)


def violations(root: Path) -> list[str]:
    root = root.resolve()
    found = []
    for source in sorted(root.glob("src/**/*")) + sorted(root.glob("kernels/**/*")):
        if source.suffix not in SOURCES:
            continue
        path = source.relative_to(root).as_posix()
        room = room_of(path)
        if room not in ROOMS:
            found.append(f"{path}: {room} is no room of the table")
            continue
        for _, name in INCLUDE.findall(source.read_text()):
            other = room_of_include(root, source, name)
            if other is not None and wrong_room(room, other):
                found.append(f"{path} ({room}) includes {name} ({other})")
            for library, pattern, rooms in LIBRARIES:
                if re.match(pattern, name) and room not in rooms:
                    found.append(f"{path} ({room}) includes {name}, but {library} is for {', '.join(rooms)}")
    return found


def test_each_room_includes_only_rooms_above_it():
    assert violations(ROOT) == []


def test_the_tree_was_read():
    rooms = {room_of(path.relative_to(ROOT).as_posix()) for path in ROOT.glob("src/**/*.cpp")}
    assert {"base", "jobs", "tasks"} <= rooms
    assert "tasks/task.h" in {name for _, name in INCLUDE.findall((ROOT / "src/tasks/task.cpp").read_text())}


def write_tree(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


GOOD_TREE = {
    "src/base/error.h": "#include <string>\n",
    "src/tasks/task.h": '#pragma once\n#include "base/error.h"\n#include <vector>\n',
    "src/tasks/task.cpp": '#include "tasks/task.h"\n',
    "src/ops/scan.cpp": '#include <torch/torch.h>\n#include "kernels/scan/scan.h"\n',
    "src/comm/session.cpp": "#include <mpi.h>\n#include <mpi-ext.h>\n#include <nccl.h>\n",
    "src/results/writer.cpp": "#include <hdf5.h>\n",
    "src/config/parse.cpp": "#include <boost/program_options.hpp>\n",
    "src/main.cpp": '#include "commands/commands.h"\n',
    "src/commands/commands.h": "",
    "kernels/scan/scan.h": "#include <cstdint>\n",
    "kernels/scan/scan.cu": '#include "kernels/scan/scan.h"\n#include "base/error.h"\n#include <cuda_runtime.h>\n',
}


def test_a_good_tree_has_no_violations(tmp_path):
    write_tree(tmp_path, GOOD_TREE)
    assert violations(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("src/base/error.cpp", '#include "tasks/task.h"'),  # a room below
        ("src/base/error.cpp", '#include "../tasks/task.h"'),  # the same by a relative path
        ("src/base/error.cpp", "  #  include <tasks/task.h>  // brackets and spaces"),
        ("src/tasks/task.cpp", '#include "results/missing.h"'),  # a header that is not there
        ("src/jobs/job.cpp", '#include "tasks/task.h"'),
        ("src/commands/sample.cpp", '#include "src/main.cpp"'),
        ("kernels/scan/scan.cpp", '#include "tasks/task.h"'),  # of src/ only base
        ("kernels/scan/scan.cpp", '#include "src/tasks/task.h"'),
        ("src/base/error.cpp", '#include "kernels/scan/scan.h"'),
        ("src/tasks/task.cpp", "#include <torch/torch.h>"),
        ("src/results/writer.cpp", "#include <ATen/ATen.h>"),
        ("src/comm/session.cpp", "#include <c10/cuda/CUDAStream.h>"),
        ("kernels/scan/scan.cu", "#include <torch/torch.h>"),
        ("src/train/trainer.cpp", "#include <mpi.h>"),
        ("src/sweep/worker.cpp", '#include "mpi.h"'),
        ("src/train/trainer.cpp", "#include <nccl.h>"),
        ("src/commands/export.cpp", "#include <hdf5.h>"),
        ("src/commands/export.cpp", "#include <H5Fpublic.h>"),
        ("src/jobs/grid.cpp", "#include <boost/program_options.hpp>"),
        ("src/main.cpp", "#include <torch/torch.h>"),
        ("src/misc/stray.cpp", ""),  # a folder that is no room
    ],
)
def test_a_violation_is_found_and_named(tmp_path, path, line):
    write_tree(tmp_path, {**GOOD_TREE, path: GOOD_TREE.get(path, "") + line + "\n"})
    found = violations(tmp_path)
    assert len(found) == 1
    assert found[0].startswith(path)


def test_the_library_rules_name_only_rooms():
    assert {room for _, _, rooms in LIBRARIES for room in rooms} <= set(ROOMS)
