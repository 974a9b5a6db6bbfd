"""What a person sees on the terminal: lines of text, and bars that show how far the work is."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console

from lentigo.learn import processes

if TYPE_CHECKING:
    from lentigo.learn.training import TrainProgress


LINE_EVERY_S = 30.0  # where there is no terminal to draw a bar on


def console(*, stderr: bool = False) -> Console:
    """Results go to standard output, progress and errors to standard error."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False)


def say(text: str, *, stderr: bool = False) -> None:
    if _speaks():
        console(stderr=stderr).print(text)


def say_error(text: str, code: int, *, lost: bool = False) -> None:
    """Tell why a command ends with an exit code; of several processes that tell the same, one speaks.

    Args:
        lost: only because another process is gone.
    """
    if processes.watched():
        processes.report(text, code, lost=lost)
    elif processes.is_first_to_tell(text):
        console(stderr=True).print(f"lentigo: {text}")


def _speaks() -> bool:
    """Of several processes, on one machine or more, the first."""
    return not processes.launched() or os.environ["RANK"] == "0"


def say_verdict(verdict: dict[str, Any]) -> None:
    """An audit's findings, the gravest first and in colour where there is any, then what they come to."""
    from rich.text import Text

    if not _speaks():
        return
    screen = console()
    looks = {"serious": "bold red", "warning": "yellow", "note": "dim"}
    for finding in verdict["findings"]:
        mark = Text(f"{finding['severity'].upper():<8} ", style=looks[finding["severity"]])
        screen.print(mark + Text(finding["text"]))
    screen.print(Text(verdict["sentence"], style="bold"))


def _moves(screen: Console) -> bool:
    """Whether there is a screen to draw bars on, and it is for this process to do so."""
    return screen.is_terminal and _speaks()


class Display:
    """Progress on the terminal; nothing but lines of text where the output is no terminal."""

    def say(self, text: str) -> None:
        say(text)

    def verdict(self, verdict: dict[str, Any]) -> None:
        say_verdict(verdict)

    @contextlib.contextmanager
    def bar(self, text: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Takes the number done since the last call; `total` None: nobody knows how many there are."""
        screen = console(stderr=True)
        if not _moves(screen):
            yield _lines(text, total)
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns: list[Any] = [
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        ]
        # Standard output stays as it is: results may go to a file while the bar is on the terminal.
        with Progress(*columns, console=screen, transient=True, redirect_stdout=False) as progress:
            task = progress.add_task(text, total=total)
            yield lambda done: progress.advance(task, done)

    @contextlib.contextmanager
    def training(self, name: str) -> "Iterator[Callable[[TrainProgress], None]]":
        from rich.progress import BarColumn, Progress, TextColumn

        screen = console(stderr=True)
        columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}")]
        with Progress(*columns, console=screen, transient=True, disable=not _moves(screen)) as progress:
            task = progress.add_task(name, total=None, state="")
            shown = 0

            def update(now: "TrainProgress") -> None:
                nonlocal shown
                done = len(now.history) * now.steps + (now.step if len(now.history) < now.epoch else 0)
                progress.update(task, total=now.epochs * now.steps, completed=done, state=_training_state(now))
                for row in now.history[shown:]:
                    scores = "".join(f"{score} {value:.4f}, " for score, value in row.scores.items())
                    screen.print(
                        f"{name} epoch {row.epoch}: loss {row.train_loss:.4f}, "
                        f"validation loss {row.validation_loss:.4f}, {scores}{row.seconds:.0f} s"
                    )
                shown = len(now.history)

            yield update


def _lines(text: str, total: int | None) -> Callable[[int], None]:
    """A bar for a log: how far it is, every half minute; a long work is seen to go on, and a short one is mute."""
    done, last = 0, time.monotonic()

    def advance(more: int) -> None:
        nonlocal done, last
        done += more
        if time.monotonic() - last >= LINE_EVERY_S:
            last = time.monotonic()
            say(f"{text}: {done:,}" + ("" if total is None else f" of {total:,}"), stderr=True)

    return advance


def _training_state(now: "TrainProgress") -> str:
    loss = now.loss if now.step else now.history[-1].train_loss if now.history else now.loss
    text = f"epoch {now.epoch}/{now.epochs}  loss {loss:.3f}  "
    if now.history:
        scores = " ".join(f"{score} {value:.3f}" for score, value in now.history[-1].scores.items())
        text += f"validation {scores}  "
    left = f"{now.remaining_s / 60:.0f} min" if now.remaining_s >= 90 else f"{now.remaining_s:.0f} s"
    return f"{text}{now.images_per_s:.0f} images/s  {left} left"
