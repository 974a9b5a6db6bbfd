"""The watcher of several processes, by small programs in lentigo's place: who is told what, and that none is left."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lentigo.errors import ConfigError
from lentigo.learn import processes
from lentigo.learn.processes import Outcome, Place, check_processes, launched, place, run_together

HEAD = """
import json, os, pathlib, signal, sys, time
rank, out = os.environ["RANK"], pathlib.Path(sys.argv[1])
def report(text, code, lost=False):
    line = json.dumps({"text": text, "code": code, "lost": lost}) + "\\n"
    os.write(int(os.environ["LENTIGO_REPORTS"]), line.encode())
    sys.exit(code)
"""


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


def run(code: str, folder: Path, count: int = 2) -> Outcome:
    program = folder / "program.py"
    program.write_text(HEAD + code)
    return run_together([str(folder)], count, advice=lambda: "Begin again", program=[sys.executable, str(program)])


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


def alive(pid: int) -> bool:
    """Not so for a process that has ended and is not yet asked for its exit code."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def test_every_process_knows_its_place(tmp_path: Path, alone: None) -> None:
    code = "(out / rank).write_text(json.dumps(dict(os.environ)))"
    assert run(code, tmp_path, 3) == Outcome(code=0)
    found = [json.loads((tmp_path / str(rank)).read_text()) for rank in range(3)]
    assert [(one["RANK"], one["LOCAL_RANK"], one["GROUP_RANK"]) for one in found] == [
        ("0", "0", "0"),
        ("1", "1", "0"),
        ("2", "2", "0"),
    ]
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        assert {one[name] for one in found} == {"3"}
    assert len({(one["MASTER_ADDR"], one["MASTER_PORT"], one["TORCHELASTIC_RUN_ID"]) for one in found}) == 1
    assert {one["OMP_NUM_THREADS"] for one in found} == {str(max(1, len(os.sched_getaffinity(0)) // 3))}


def test_a_number_of_threads_that_is_given_stays(tmp_path: Path, alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    run('(out / rank).write_text(os.environ["OMP_NUM_THREADS"])', tmp_path, 1)
    assert (tmp_path / "0").read_text() == "7"


def test_a_killed_process_ends_the_others(tmp_path: Path) -> None:
    code = 'os.kill(os.getpid(), 9) if rank == "1" else time.sleep(60)'
    with within(5):
        outcome = run(code, tmp_path, 3)
    assert outcome.code == 2
    assert outcome.text == (
        "process 2 of 3 was killed by signal 9 (SIGKILL), perhaps because memory ran out; the others are stopped. "
        "Begin again"
    )


def test_the_dead_one_is_named_though_another_missed_it(tmp_path: Path) -> None:
    code = """
if rank == "1":
    (out / "dead").touch()
    os.kill(os.getpid(), 9)
while not (out / "dead").exists():
    time.sleep(0.01)
report("one of the 2 processes has ended", 2, lost=True)
"""
    assert run(code, tmp_path).text.startswith("process 2 of 2 was killed by signal 9")


def test_one_that_heeds_no_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE_S", 0.5)
    code = """
if rank == "0":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (out / "ready").touch()
    time.sleep(60)
while not (out / "ready").exists():
    time.sleep(0.01)
sys.exit(3)
"""
    with within(5):
        outcome = run(code, tmp_path)
    assert outcome.text == (
        "process 2 of 2 ended with exit code 3, see what it wrote above; the others are stopped. Begin again"
    )


@pytest.mark.parametrize("rank", ["0", "1"])
def test_an_error_is_told_once(tmp_path: Path, rank: str) -> None:
    """Of whichever process, and though all have it."""
    assert run('report("a wrong path", 2)', tmp_path) == Outcome(code=2, text="a wrong path")
    code = f'report("damaged", 2) if rank == "{rank}" else time.sleep(60)'
    with within(5):
        assert run(code, tmp_path) == Outcome(code=2, text="damaged")


def test_lost_processes_are_told_of_where_nothing_else_is_known(tmp_path: Path) -> None:
    assert run('report("lost", 2, lost=True)', tmp_path) == Outcome(code=2, text="lost")
    assert run("sys.exit(2)", tmp_path).text == "a process of 2 ended without a word"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_lets_all_save(tmp_path: Path, number: signal.Signals) -> None:
    code = f"""
def stop(*_):
    time.sleep(0.3 * (1 - int(rank)))  # the first is the last to end
    (out / ("saved" + rank)).touch()
    report("stopped in epoch 1", 130)
signal.signal({int(number)}, stop)
(out / ("ready" + rank)).touch()
time.sleep(60)
"""

    def press() -> None:
        while not all((tmp_path / f"ready{rank}").exists() for rank in (0, 1)):
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    threading.Thread(target=press).start()
    with within(5):
        assert run(code, tmp_path) == Outcome(code=130, text="stopped in epoch 1")
    assert all((tmp_path / f"saved{rank}").exists() for rank in (0, 1))
    assert signal.getsignal(number) == before


def test_a_second_stop_ends_what_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE_S", 0.3)
    code = """
signal.signal(signal.SIGINT, signal.SIG_IGN)
(out / ("ready" + rank)).touch()
time.sleep(60)
"""

    def press() -> None:
        while not all((tmp_path / f"ready{rank}").exists() for rank in (0, 1)):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    with within(5):
        assert run(code, tmp_path) == Outcome(code=130, text="stopped; what was finished is kept")


def test_no_process_outlives_a_watcher_that_is_killed(tmp_path: Path) -> None:
    child = "from lentigo.learn.processes import obey_watcher; obey_watcher()\n" + HEAD
    (tmp_path / "program.py").write_text(
        child + '(out / ("pid" + rank + ".part")).write_text(str(os.getpid()))\n'
        '(out / ("pid" + rank + ".part")).rename(out / ("pid" + rank))\ntime.sleep(60)\n'
    )
    code = (
        "import sys; from lentigo.learn.processes import run_together; "
        "run_together(sys.argv[3:], 2, advice=str, program=sys.argv[1:3])"
    )
    arguments = [sys.executable, str(tmp_path / "program.py"), str(tmp_path)]
    watcher = subprocess.Popen([sys.executable, "-c", code, *arguments])
    files = [tmp_path / "pid0", tmp_path / "pid1"]
    while not all(file.exists() for file in files):
        time.sleep(0.02)
    children = [int(file.read_text()) for file in files]
    assert all(map(alive, children))
    watcher.kill()
    watcher.wait()
    deadline = time.monotonic() + 5
    while any(map(alive, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, children))


def test_the_place_of_a_launched_process(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not launched()
    assert place() == Place(rank=0, processes=1, local_rank=0, local_processes=1)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a")
    for name, value in {"RANK": 3, "WORLD_SIZE": 4, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    assert launched()
    assert place() == Place(rank=3, processes=4, local_rank=1, local_processes=2)
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    with pytest.raises(ConfigError, match=r"lacks a number that torchrun gives \('LOCAL_WORLD_SIZE'\); start it with"):
        place()


def test_a_batch_has_an_image_for_every_process() -> None:
    check_processes(4, 4)
    with pytest.raises(ConfigError, match=r"5 processes would share a train\.batch_size of 4, so one would have no"):
        check_processes(5, 4)


@pytest.mark.parametrize(("group", "left"), [({"RANK": "1", "TORCHELASTIC_RUN_ID": "x"}, ""), ({}, "torn down\n")])
@pytest.mark.parametrize(
    ("last", "code", "told"),
    [
        ("pass", 0, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit(130)", 130, ""),
        ('raise ValueError("odd")', 1, "ValueError: odd\n"),
    ],
)
def test_a_process_of_several_ends_before_python_is_torn_down(
    alone: None, group: dict[str, str], left: str, last: str, code: int, told: str
) -> None:
    """Its exit code, its last words and what it registered for its end are kept; a lone one ends as any program."""
    program = f"""
import atexit, os, sys
from lentigo.cli.ending import without_teardown
class Last:
    def __del__(self, write=os.write):
        write(1, b"torn down\\n")
kept = Last()
atexit.register(lambda: print("exit handler"))
with without_teardown():
    print("work", end=" ")
    {last}
"""
    environment = os.environ | group
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == code
    assert ended.stdout == f"work exit handler\n{left}"
    assert ended.stderr.endswith(told)
    assert ended.stderr.startswith("Traceback") == bool(told)
