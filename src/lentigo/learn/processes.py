"""Several processes that work as one command: started, watched and ended together; no torch is imported here.

A command of N processes is the same command N times, each told its place by the environment that `torchrun` gives, so
that own processes on one machine and torchrun's on several take one way. Where one dies the others are stopped, and the
user is told once. Should the watching process be killed, the others see the end of a pipe, stop, and save their state.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import FrameType
from typing import Any

from lentigo.errors import ConfigError, RunError
from lentigo.machine import cores

_PROGRAM = (sys.executable, "-m", "lentigo.cli")
GRACE_S = 10.0  # from a SIGTERM to a SIGKILL: a process that waits for a dead one on a GPU heeds no SIGTERM
_ORPHAN_S = 60.0  # the same for processes whose watcher was killed: they may end a step and save
_LOOK_S = 0.05
_SETTLE_S = 0.5  # in which the system ends a killed process whose sockets are closed already
_STORE_PATIENCE_S = 5.0
_STOPPED = 130
_LIFELINE, _REPORTS = "LENTIGO_LIFELINE", "LENTIGO_REPORTS"  # descriptors of the watcher's pipes
_TOLD_BY_ITSELF = (0, 2, _STOPPED)  # exit codes of a process that has said why it ends


class LostProcessError(RunError):
    """Another process of this command has ended, so that this one cannot go on."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which of a command's processes this one is."""

    rank: int = 0  # among all
    processes: int = 1
    local_rank: int = 0  # on this machine
    local_processes: int = 1


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a command of several processes ended."""

    code: int  # of the command: 0, 2 for an error, 130 where a person stopped it
    text: str = ""  # what a person is to be told


@dataclass
class _Watch:
    """What the watcher knows of its processes."""

    processes: list[subprocess.Popen[bytes]]
    asked: int = 0  # how often a person asked to stop
    deadline: float = float("inf")
    culprits: list[int] = field(default_factory=list)  # ranks that were seen to fail first

    def send(self, number: int) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(number)

    def forward(self, number: int, _: FrameType | None) -> None:
        """A person's signal goes on to all: the first lets them save, a second acts at once."""
        self.asked += 1
        if self.asked > 1:
            self.deadline = min(self.deadline, time.monotonic() + GRACE_S)
        self.send(number)


def launched() -> bool:
    """Whether `torchrun`, or `run_together`, started this process as one of a group."""
    return "TORCHELASTIC_RUN_ID" in os.environ and "RANK" in os.environ


def place() -> Place:
    """This process's place, alone unless it was `launched`.

    Raises: ConfigError: the launcher left out something.
    """
    if not launched():
        return Place()
    names = {
        "rank": "RANK",
        "processes": "WORLD_SIZE",
        "local_rank": "LOCAL_RANK",
        "local_processes": "LOCAL_WORLD_SIZE",
    }
    try:
        return Place(**{key: int(os.environ[name]) for key, name in names.items()})
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"the environment of this process lacks a number that torchrun gives ({error}); start it with torchrun"
        ) from error


def check_processes(count: int, batch_size: int) -> None:
    """Raises: ConfigError: a batch has fewer images than there are processes."""
    if count > batch_size:
        raise ConfigError(
            f"{count} processes would share a train.batch_size of {batch_size}, so one would have no image; take fewer "
            "(--devices), or larger batches"
        )


def watched() -> bool:
    """Whether `run_together` started this process, and tells what it reports."""
    return _REPORTS in os.environ


def run_together(
    arguments: Sequence[str], count: int, *, advice: Callable[[], str], program: Sequence[str] = _PROGRAM
) -> Outcome:
    """Run `lentigo ARGUMENTS` in `count` processes on this machine, and wait for all of them.

    Args:
        arguments: as on the command line, without the program.
        advice: what to do where a process died, asked then; a whole sentence.
        program: what is run; another one than lentigo in tests alone.
    """
    lifeline_end, lifeline = os.pipe()
    reports, reports_end = os.pipe()
    inherited = {_LIFELINE: lifeline_end, _REPORTS: reports_end}
    environments = _environments(count, inherited)
    watch = _Watch([])
    with contextlib.ExitStack() as stack:
        for descriptor in (reports, lifeline):
            stack.callback(os.close, descriptor)
        stack.enter_context(_forwarded(watch))
        try:
            for environment in environments:
                watch.processes.append(
                    subprocess.Popen(
                        [*program, *arguments],
                        env=environment,
                        pass_fds=list(inherited.values()),
                        process_group=0,  # a Ctrl-C comes to the watcher alone, which hands it on once
                    )
                )
        finally:
            for descriptor in inherited.values():
                os.close(descriptor)
            if len(watch.processes) < count:  # the system refused one
                watch.send(signal.SIGKILL)
        _wait(watch)
        return _outcome(watch, _read_reports(reports), advice)


def obey_watcher() -> None:
    """End this process in good order when the watcher that started it is no more; does nothing without one."""
    if _LIFELINE not in os.environ:
        return
    descriptor = int(os.environ[_LIFELINE])

    def wait() -> None:
        select.select([descriptor], [], [])  # nothing is ever written, so this is its end
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_ORPHAN_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def report(text: str, code: int, *, lost: bool = False) -> None:
    """Hand to the watcher why this process ends; it tells one such text of all processes.

    Args:
        lost: only because another process is gone.
    """
    line = json.dumps({"text": text, "code": code, "lost": lost}) + "\n"
    with contextlib.suppress(OSError):  # the watcher is gone
        os.write(int(os.environ[_REPORTS]), line.encode())


def is_first_to_tell(text: str) -> bool:
    """Whether no other process of this command has told the same; all ask the store that torchrun keeps for them."""
    if not launched():
        return True
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    try:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=_STORE_PATIENCE_S))
        return int(store.add(f"lentigo {text}", 1)) == 1
    except (KeyError, RuntimeError):  # the store went with the process that kept it
        return place().local_rank == 0


def _environments(count: int, inherited: Mapping[str, int]) -> list[dict[str, str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "GROUP_RANK": "0",
        "TORCHELASTIC_RUN_ID": f"lentigo-{os.getpid()}",
        **{name: str(descriptor) for name, descriptor in inherited.items()},
    }
    threads = {"OMP_NUM_THREADS": str(max(1, cores() // count))}  # else each process takes all cores
    return [threads | os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


@contextlib.contextmanager
def _forwarded(watch: _Watch) -> Iterator[None]:
    """SIGINT and SIGTERM go on to the processes meanwhile; one that was to be ignored stays ignored."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (int(signal.SIGINT), int(signal.SIGTERM)):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, watch.forward)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(watch: _Watch) -> None:
    """Until all have ended; from the first that fails on the others are stopped."""
    while any(process.poll() is None for process in watch.processes):
        if not watch.culprits and _failed(watch):
            time.sleep(_SETTLE_S)
            watch.culprits = _failed(watch)
            watch.deadline = min(watch.deadline, time.monotonic() + GRACE_S)
            if not watch.asked:  # else they have had a SIGTERM
                watch.send(signal.SIGTERM)
        if time.monotonic() > watch.deadline:
            watch.send(signal.SIGKILL)
        time.sleep(_LOOK_S)
    watch.culprits = watch.culprits or _failed(watch)


def _failed(watch: _Watch) -> list[int]:
    """Ranks that ended otherwise than they should; one that a person stopped has saved first, as the others do."""
    codes = [process.poll() for process in watch.processes]
    return [rank for rank, code in enumerate(codes) if code not in (None, 0, _STOPPED)]


def _read_reports(descriptor: int) -> list[dict[str, Any]]:
    """What the processes reported before they ended, in its order."""
    os.set_blocking(descriptor, False)
    content = b""
    with contextlib.suppress(BlockingIOError):
        while piece := os.read(descriptor, 1 << 16):
            content += piece
    found = []
    for line in content.decode(errors="replace").splitlines():
        with contextlib.suppress(ValueError):  # two long ones at once may have mixed
            found.append(json.loads(line))
    return found


def _outcome(watch: _Watch, reports: list[dict[str, Any]], advice: Callable[[], str]) -> Outcome:
    """The cause before its consequences: an error, a death, a person's wish, and last a process that missed another."""
    codes = [process.returncode for process in watch.processes]
    if not any(codes):
        return Outcome(code=0)
    own = [report for report in reports if not report["lost"]]
    errors = [report for report in own if report["code"] != _STOPPED]
    if errors:
        return Outcome(code=errors[0]["code"], text=errors[0]["text"])
    dead = next((rank for rank in watch.culprits if codes[rank] not in _TOLD_BY_ITSELF), None)
    if dead is not None and not watch.asked:
        return Outcome(code=2, text=f"{_death(dead, len(codes), codes[dead])}. {advice()}")
    if own or watch.asked:
        return Outcome(code=_STOPPED, text=own[0]["text"] if own else "stopped; what was finished is kept")
    lost = "; ".join(report["text"] for report in reports[:1]) or f"a process of {len(codes)} ended without a word"
    return Outcome(code=2, text=lost)


def _death(rank: int, count: int, code: int) -> str:
    if code >= 0:
        how = f"ended with exit code {code}, see what it wrote above"
    else:
        number = -code
        known = {int(value): value.name for value in signal.Signals}
        how = f"was killed by signal {number} ({known.get(number, 'unknown')})"
        how += ", perhaps because memory ran out" if number == signal.SIGKILL else ""
    return f"process {rank + 1} of {count} {how}" + ("; the others are stopped" if count > 1 else "")
