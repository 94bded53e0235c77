"""launch/setup.sh in surroundings that this machine does not have, and what it installs."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def stand_in(folder: Path, name: str, script: str) -> None:
    """A program that is found before the real one."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{script}\n")
    (folder / name).chmod(0o755)


def run(command: list, path: Path | None = None, **options) -> subprocess.CompletedProcess:
    environment = dict(os.environ)
    if path:
        environment["PATH"] = f"{path}:{environment['PATH']}"
    return subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment, **options)


def test_a_user_who_is_not_root_is_shown_the_one_command(tmp_path):
    programs = tmp_path / "bin"
    stand_in(programs, "id", "echo 1000")
    stand_in(programs, "dpkg-query", """case "${@: -1}" in
libhdf5-dev | ccache) exit 1 ;;
*) echo "install ok installed" ;;
esac""")
    stand_in(programs, "apt-get", f"touch {tmp_path}/apt-was-called")
    result = run([ROOT / "launch/setup.sh", "--no-build"], programs)
    assert result.returncode == 1
    assert "sudo apt-get install -y ccache libhdf5-dev\n" in result.stderr
    assert not (tmp_path / "apt-was-called").exists()


def test_a_user_with_all_packages_needs_no_root(tmp_path):
    stand_in(tmp_path / "bin", "id", "echo 1000")
    result = run([ROOT / "launch/setup.sh", "--no-build"], tmp_path / "bin")
    assert result.returncode == 0, result.stderr


def test_another_system_is_told_what_must_be_there(tmp_path):
    """Without dpkg-query the script can only name the packages."""
    folders = []
    for number, folder in enumerate(map(Path, os.environ["PATH"].split(":"))):
        copy = tmp_path / str(number)
        copy.mkdir()
        for program in folder.glob("*"):
            if program.name != "dpkg-query":
                (copy / program.name).symlink_to(program)
        folders.append(str(copy))
    result = subprocess.run([ROOT / "launch/setup.sh", "--no-build"], capture_output=True, text=True, timeout=200,
                            env={**os.environ, "PATH": ":".join(folders)})
    assert result.returncode == 0, result.stderr
    assert "not a Debian system" in result.stdout and "libhdf5-dev" in result.stdout


def test_unknown_option_is_wrong_use():
    result = run([ROOT / "launch/setup.sh", "--nobuild"])
    assert result.returncode == 2 and "--no-build" in result.stderr


@pytest.mark.parametrize(("option", "said"),
                         [("RECITE_MPI_DIR", "No Open MPI in"), ("RECITE_TORCH_DIR", "No LibTorch in")])
def test_a_folder_without_the_library_is_refused(tmp_path, option, said):
    result = run([ROOT / ".venv/bin/cmake", "-S", ROOT, "-B", tmp_path / "build", "-G", "Ninja",
                  f"-D{option}={tmp_path}", f"-DCMAKE_MAKE_PROGRAM={ROOT}/.venv/bin/ninja"])
    assert result.returncode != 0
    message = " ".join(result.stderr.split())    # CMake breaks lines
    assert f"{said} '{tmp_path}'" in message and f"set {option}" in message


def test_installed_recite_runs_a_sweep_from_anywhere(tmp_path):
    prefix = tmp_path / "prefix"
    installed = run([ROOT / ".venv/bin/cmake", "--install", os.environ["RECITE_BUILD"], "--prefix", prefix])
    assert installed.returncode == 0, installed.stderr
    linked = run(["ldd", prefix / "libexec/recite/recite"]).stdout
    assert "not found" not in linked and str(ROOT) not in linked, "independent of the checkout"
    (tmp_path / "one.ini").write_text("[sweep]\nname = one\nmodel = lstm\ntask = copy\n[model]\nhidden_size = 8\n"
                                      "layers = 1\n[train]\nsteps = 3\nbatch_size = 2\ncontext_length = 30\n"
                                      "min_length = 2\nmax_length = 5\n[eval]\nlengths = 5\nbatch_size = 4\n"
                                      "num_batches = 1\n[run]\ndevice = cpu\n")
    result = run([prefix / "bin/recite", "-n", "2", "sweep", "one.ini", "-o", "one.h5"], cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 done, 0 failed" in result.stdout
    assert (prefix / "share/recite/configs/quickstart.ini").exists()
