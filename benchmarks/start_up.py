"""How long until lentigo answers?

Run: python benchmarks/start_up.py [--times 7]

The median of fresh processes, less what Python itself takes to start; files are in the system's cache, as after a first
call. Prints a table for RESULTS.md. Asked: `import lentigo` in 0.15 s, `lentigo COMMAND --help` in 0.5 s.
"""

import argparse
import statistics
import subprocess
import sys
import time

WORK = {
    "python alone": ["-c", "pass"],
    "import lentigo": ["-c", "import lentigo"],
    "lentigo --version": ["-m", "lentigo.cli", "--version"],
    "lentigo predict --help": ["-m", "lentigo.cli", "predict", "--help"],
    "lentigo serve --help": ["-m", "lentigo.cli", "serve", "--help"],
    "lentigo export --help": ["-m", "lentigo.cli", "export", "--help"],
    "lentigo train --help": ["-m", "lentigo.cli", "train", "--help"],
    "lentigo evaluate --help": ["-m", "lentigo.cli", "evaluate", "--help"],
    "lentigo tune --help": ["-m", "lentigo.cli", "tune", "--help"],
}


def median_s(arguments: list[str], times: int) -> float:
    """Seconds of one process."""
    taken = []
    for _ in range(times + 1):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=7)
    given = parser.parse_args()
    print("| what | s | s without Python's own |")
    print("|---|---|---|")
    alone = median_s(WORK["python alone"], given.times)
    for name, arguments in WORK.items():
        seconds = median_s(arguments, given.times)
        print(f"| {name} | {seconds:.2f} | {max(seconds - alone, 0):.2f} |")
