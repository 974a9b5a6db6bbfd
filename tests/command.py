"""Commands in this process, which spares the second that importing torch takes."""

import sys
from pathlib import Path

import pytest

from lentigo.cli import main


def called(*arguments: str | Path) -> int:
    """The exit status of a command."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["lentigo", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
    return int(caught.value.code or 0)
