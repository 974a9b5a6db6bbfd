"""What a process may use."""

import os
import subprocess
import sys

import pytest

from lentigo.machine import cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux to bind a process to a core")
def test_only_cores_that_the_process_may_run_on_count() -> None:
    assert cores() == len(os.sched_getaffinity(0))
    code = (
        "import os; from lentigo.machine import cores\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "print(cores())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_without_such_a_thing_all_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for counted, expected in ((7, 7), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda counted=counted: counted)
        assert cores() == expected
