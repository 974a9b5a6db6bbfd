"""Progress where there is no terminal."""

import pytest

from lentigo import terminal
from lentigo.terminal import Display


def test_a_long_work_says_how_far_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now)
    with Display().bar("decoding images", 4_000) as advance:
        for moment in (101.0, 129.9, 130.0, 131.0, 159.9, 160.0):
            now = moment
            advance(500)
    assert capsys.readouterr() == ("", "decoding images: 1,500 of 4,000\ndecoding images: 3,000 of 4,000\n")
    with Display().bar("screening", None) as advance:
        now += 31
        advance(7)
        advance(1)
    assert capsys.readouterr() == ("", "screening: 7\n")
    monkeypatch.setenv("RANK", "1")  # of several processes the first speaks
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    with Display().bar("screening", None) as advance:
        now += 31
        advance(7)
    assert capsys.readouterr() == ("", "")
