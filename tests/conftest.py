"""What every test shares: shapes and types are checked at run time, and real images are found."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook("lentigo", "beartype.beartype")

PROJECT = Path(__file__).resolve().parent.parent
REAL_DATA = Path(os.environ.get("LENTIGO_DATA", PROJECT.parent / "shared" / "data"))


@pytest.fixture
def real_data() -> Path:
    """The folder of real images, or the test is skipped with the reason."""
    if not (REAL_DATA / "kaggle10605").is_dir():
        pytest.skip(f"no real images at {REAL_DATA}; set LENTIGO_DATA to the folder that holds kaggle10605")
    return REAL_DATA


@pytest.fixture
def lentigo(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command in this process; what it printed, or its error where that is expected."""
    from tests.command import called  # after the hook above, for it imports lentigo

    def run(*arguments: str | Path, error: bool = False) -> str:
        capsys.readouterr()
        code = called(*arguments)
        out, err = capsys.readouterr()
        assert code == (2 if error else 0), err
        return err if error else out

    return run
