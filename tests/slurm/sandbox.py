"""A real Slurm in a folder: one controller, several slurmd as the nodes of one host, loopback only, no GPUs.

Needs the Debian packages slurm-wlm and munge. Two partitions: `main`, whose jobs go back into the queue when one of the
partition `urgent` needs their nodes.
"""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "support"))

from waiting import wait_until

CONFIGURATION = """
ClusterName=recite
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SlurmdTimeout=6
KillWait=5
MailProg=/bin/true
{nodes}
PartitionName=main Nodes=ALL Default=YES PriorityTier=1
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF
"""
# cred_expire: how long a job that was put back into the queue waits there at least (120 s by default).
# SlurmdTimeout: how long a node is silent before its jobs are put back into the queue (300 s by default).


def run(*command, check: bool = True, **options) -> str:
    done = subprocess.run(list(map(str, command)), text=True, capture_output=True, **options)
    assert done.returncode == 0 or not check, f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Sandbox:
    def __init__(self, folder: Path, nodes: int, cpus: int):
        self.folder = folder
        # mpirun starts ranks by itself on the node that has its host's name, and through Slurm on the others.
        host = socket.gethostname().split(".")[0]
        self.nodes = [host] + [f"node{i}" for i in range(2, nodes + 1)]
        self.daemons: dict[str, subprocess.Popen] = {}
        controller, *ports = free_ports(nodes + 1)
        lines = [f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} Weight={weight}"
                 for weight, (node, port) in enumerate(zip(self.nodes, ports), 1)]
        (folder / "slurm.conf").write_text(CONFIGURATION.format(
            host=host, controller_port=controller, user=run("id", "-un").strip(), folder=folder,
            nodes="\n".join(lines)))
        (folder / "state").mkdir()
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")

    def start(self) -> None:
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        munge_socket = self.folder / "munge.socket"
        self.start_daemon("munged", "munged", "--foreground", "--force", f"--key-file={key}",
                          f"--socket={munge_socket}", f"--pid-file={self.folder}/munged.pid",
                          f"--seed-file={self.folder}/munge.seed")
        wait_until(munge_socket.exists, 10, lambda: self.log("munged"))
        self.start_daemon("slurmctld", "slurmctld", "-D", "-c")
        for node in self.nodes:
            self.start_node(node)
        self.wait_until_idle()

    def start_node(self, node: str) -> None:
        self.start_daemon(node, "slurmd", "-D", "-N", node)

    def start_daemon(self, name: str, *command: str) -> None:
        """It dies with this process, however that ends."""
        with open(self.folder / f"{name}.out", "ab") as out:
            self.daemons[name] = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], stdout=out,
                                                  stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                                  start_new_session=True)

    def kill_node(self, node: str) -> None:
        """The daemon alone: what it started lives on."""
        self.daemons[node].kill()
        self.daemons[node].wait()

    def stop(self) -> None:
        try:
            self.cancel_all()
        finally:
            for daemon in reversed(self.daemons.values()):
                daemon.terminate()
                daemon.wait(20)
            self.kill_what_is_left()

    def cancel_all(self) -> None:
        run("scancel", "--quiet", "--user", os.getuid(), check=False)
        wait_until(lambda: not run("squeue", "-h"), 40, self.state)

    def kill_what_is_left(self) -> None:
        """Jobs that outlived their daemons: all that was started here has the configuration in its environment."""
        ours = f"SLURM_CONF={self.folder}/slurm.conf".encode()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if ours in (process / "environ").read_bytes() and int(process.name) != os.getpid():
                    os.kill(int(process.name), signal.SIGKILL)
            except OSError:
                pass    # it ended in the meantime, or is not ours to look at

    def wait_until_idle(self) -> None:
        def idle_nodes() -> str:
            return run("sinfo", "-h", "-t", "idle", "-p", "main", "-o", "%D", check=False).strip()

        wait_until(lambda: idle_nodes() == str(len(self.nodes)), 60, self.state)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.out").read_text()[-4000:]

    def state(self) -> str:
        return run("sinfo", "-N", "-l", check=False) + run("squeue", "-l", check=False) + self.log("slurmctld")


class BatchJob:
    """What Slurm says about a job."""

    def __init__(self, number: str, output: Path):
        self.number = number
        self.output = output

    def field(self, name: str) -> str:
        found = re.search(rf"\b{name}=(\S*)", run("scontrol", "show", "job", self.number))
        assert found, name
        return found[1]

    def state(self) -> str:
        return self.field("JobState")

    def restarts(self) -> int:
        return int(self.field("Restarts"))

    def exit_code(self) -> int:
        return int(self.field("ExitCode").split(":")[0])

    def wait_for(self, state: str, seconds: float = 60) -> None:
        wait_until(lambda: self.state() == state, seconds, self.text)

    def wait_for_restart(self, seconds: float = 60) -> None:
        before = self.restarts()
        wait_until(lambda: self.restarts() > before, seconds, self.text)

    def wait_for_end(self, seconds: float = 150) -> str:
        ends = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "DEADLINE", "OUT_OF_MEMORY")
        wait_until(lambda: self.state() in ends, seconds, self.text)
        return self.state()

    def text(self) -> str:
        said = self.output.read_text() if self.output.exists() else "no output"
        return run("scontrol", "show", "job", self.number) + said
