"""The import rules of DESIGN.md, held over every file in src/lentigo by reading its syntax tree.

Imports count wherever they stand: in a function, under TYPE_CHECKING, or as import_module("a literal name").
Files are a mapping from a path below src/lentigo to its source, so that the checker is tested on made-up ones.
"""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "lentigo"

# The order in which data passes; a file imports from its own part and from parts to its left.
ORDER = (
    "errors",
    "machine",
    "files",
    "pixels",
    "imaging",
    "config",
    "evidence",  # arrays only, so it stands left of all that scores: the audit's probes, validation, comparison
    "data",
    "models",
    "learn",
    "explain",
    "report",
    "deploy",
    "compare",
    "terminal",
    "cli",
    "__main__",
)
# These reach no torch, neither themselves nor by what they import. A name that ends in / is a folder.
TORCH_FREE = (
    "__init__.py",
    "errors.py",
    "machine.py",
    "files.py",
    "pixels.py",
    "imaging.py",
    "config.py",
    "data/table.py",
    "data/split.py",
    "data/synthetic.py",
    "data/predictions.py",
    "data/columns.py",
    "data/changes.py",
    "evidence/",
    "learn/sharing.py",
    "report/predictions_page.py",
    "deploy/screen.py",
    "deploy/quality.py",
    "deploy/lesion_spot.py",
    "deploy/server.py",
)
BUILT_ON_TORCH = {"timm", "lightning", "lightning_fabric", "captum", "pytorch_grad_cam"}
SHELL_MODULES = {"argparse", "optparse", "getopt", "click", "typer"}
SHELL_NAMES = {"print", "exit", "quit", "sys.exit", "os._exit", "sys.argv", "sys.stdout.write", "sys.stderr.write"}
PICKLE_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "shelve", "marshal"}
PICKLE_NAMES = {"torch.load", "pandas.read_pickle", "joblib.load"}
CATCH_ALL = {"Exception", "BaseException"}


# ---------------------------------------------------------------- the checker


def violations(files: Mapping[str, str]) -> list[str]:
    """Every breach of the rules, as `path:line what is wrong`; empty when all is well."""
    found = []
    for path, source in sorted(files.items()):
        tree = ast.parse(source, path)
        for check in (order_breaches, shell_breaches, pickle_breaches, swallowed_errors):
            found += [f"{path}:{line} {wrong}" for line, wrong in check(path, tree)]
        if path.startswith(TORCH_FREE) and (chain := way_to_torch(path, files)):
            found.append(f"{path}:1 must stay without torch but reaches it: {' -> '.join(chain)}")
    return found


def order_breaches(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    own = part_of(path)
    if own not in (*ORDER, "__init__"):
        yield 1, f"{own} is no part of the house; name it in DESIGN.md and in ORDER, or move the file"
        return
    for line, name in imported_names(path, tree):
        package, part = [*name.split("."), "", ""][:2]
        if package != "lentigo" or not part or (part.startswith("__") and part not in ORDER):
            continue  # of another package, or `from lentigo import __version__`
        if own == "__init__":
            yield line, f"imports {name}; lentigo/__init__.py imports no part, so that `import lentigo` stays light"
        elif part not in ORDER:
            yield line, f"imports {name}, which is no part of the house"
        elif ORDER.index(part) > ORDER.index(own):
            yield line, f"imports {name}; {part} stands to the right of {own}"


def shell_breaches(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    if part_of(path) == "cli":
        return
    for line, name in imported_names(path, tree):
        if name.split(".")[0] in SHELL_MODULES:
            yield line, f"imports {name}; only cli reads arguments"
    for line, name in used_names(path, tree):
        if name in SHELL_NAMES:
            yield line, f"uses {name}; only cli prints, exits or reads arguments"
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc and "SystemExit" in bare_names(node.exc):
            yield node.lineno, "raises SystemExit; only cli exits, raise a LentigoError"


def pickle_breaches(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    for line, name in imported_names(path, tree):
        if name.split(".")[0] in PICKLE_MODULES:
            yield line, f"imports {name}; no pickle is ever read or written"
    for line, name in used_names(path, tree):
        if name in PICKLE_NAMES:
            yield line, f"uses {name}, which reads pickle; use safetensors, npy, CSV or JSON"
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            yield node.value.lineno, "allows pickle; leave allow_pickle out"


def swallowed_errors(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            caught = bare_names(node.type) if node.type else {"everything"}
            last = node.body[-1]
            cleans_up = caught == {"BaseException"} and isinstance(last, ast.Raise) and last.exc is None
            if caught & {"everything", *CATCH_ALL} and not cleans_up:
                yield node.lineno, f"catches {' and '.join(sorted(caught))}; name the errors that are expected"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "suppress":
            for caught in set().union(*map(bare_names, node.args)) & CATCH_ALL:
                yield node.lineno, f"suppresses {caught}; name the errors that are expected"


def way_to_torch(path: str, files: Mapping[str, str]) -> list[str]:
    """The shortest chain of files from `path` to an import of torch or of what is built on it; empty without one."""
    packages = files_run_by(".".join(["lentigo", *Path(path).parent.parts]), files)  # they run before the file does
    chains = [[path], *([path, package] for package in packages if package != path)]
    seen = {path, *packages}
    for chain in chains:  # grows while it is walked: breadth first
        for _, name in imported_names(chain[-1], ast.parse(files[chain[-1]])):
            if needs_torch(name):
                return [*chain, name]
            for imported in files_run_by(name, files):
                if imported not in seen:
                    seen.add(imported)
                    chains.append([*chain, imported])
    return []


# ---------------------------------------------------------------- what a syntax tree says


def imported_names(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and full name of all that is imported: `from .table import load` in data/ is lentigo.data.table.load."""
    package = ["lentigo", *Path(path).parent.parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}".removesuffix(".*")) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            literals = [argument for argument in node.args[:1] if isinstance(argument, ast.Constant)]
            yield from ((node.lineno, str(literal.value)) for literal in literals)


def used_names(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each name that is read, with what was imported spelled out: t.load is torch.load."""
    full = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            full |= {alias.asname or alias.name: module + alias.name for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            first, _, rest = ast.unparse(node).partition(".")
            yield node.lineno, full.get(first, first) + ("." + rest if rest else "")


def bare_names(expression: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}


def part_of(path: str) -> str:
    return Path(path).parts[0].removesuffix(".py")


def needs_torch(name: str) -> bool:
    parts = name.split(".")
    # The second place is for safetensors.torch and its like.
    return parts[0] != "lentigo" and (any(part.startswith("torch") for part in parts[:2]) or parts[0] in BUILT_ON_TORCH)


def files_run_by(name: str, files: Mapping[str, str]) -> list[str]:
    """The files of lentigo that run when `name` is imported: the packages on the way, then the module."""
    parts = name.split(".")
    if parts[0] != "lentigo":
        return []
    stems = ["/".join(parts[1:end]) for end in range(1, len(parts) + 1)]
    candidates = [path for stem in stems for path in (f"{stem}/__init__.py".lstrip("/"), f"{stem}.py")]
    return [path for path in candidates if path in files]


# ---------------------------------------------------------------- the house


def house() -> dict[str, str]:
    files = PACKAGE.rglob("*.py")
    return {path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in files}


def test_every_file_keeps_the_rules() -> None:
    files = house()
    assert {"errors.py", "files.py", "evidence/metrics.py"} <= set(files)  # the right folder was read
    found = violations(files)
    assert not found, "\n".join(found)


def modules_loaded_by(*imports: str) -> set[str]:
    """The top-level modules of a fresh interpreter after these imports."""
    code = "; ".join(
        [*(f"import {name}" for name in imports), "import sys, json; print(json.dumps(list(sys.modules)))"]
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return {name.split(".")[0] for name in json.loads(result.stdout)}


def test_command_line_starts_light() -> None:
    assert modules_loaded_by("lentigo", "lentigo.cli") & {"torch", "pandas", "sklearn", "matplotlib"} == set()


def test_torch_free_modules_load_no_torch() -> None:
    paths = [
        path.removesuffix(".py").removesuffix("__init__").rstrip("/") for path in house() if path.startswith(TORCH_FREE)
    ]
    loaded = modules_loaded_by(*sorted(".".join(["lentigo", *Path(path).parts]) for path in paths))
    assert "lentigo" in loaded
    assert "torch" not in loaded


# ---------------------------------------------------------------- the checker can fail


@pytest.mark.parametrize(
    ("path", "source", "wrong"),
    [
        (
            "data/a.py",
            "from lentigo.models import b",
            ":1 imports lentigo.models.b; models stands to the right of data",
        ),
        ("data/a.py", "import lentigo.learn.b as b", "learn stands to the right of data"),
        ("data/a.py", "from lentigo import learn", "learn stands to the right of data"),
        ("data/a.py", "from ..learn import b", "imports lentigo.learn.b; learn stands"),
        ("data/a.py", "from .. import learn", "imports lentigo.learn; learn stands"),
        ("data/a.py", "def f():\n    from lentigo.learn import b", ":2 imports lentigo.learn.b; learn stands"),
        ("data/a.py", "import importlib\nimportlib.import_module('lentigo.cli')", ":2 imports lentigo.cli; cli stands"),
        ("data/__init__.py", "from ..learn import b", "imports lentigo.learn.b; learn stands"),
        ("errors.py", "from lentigo.files import b", "files stands to the right of errors"),
        ("config.py", "from lentigo.data import b", "data stands to the right of config"),
        ("__init__.py", "from lentigo.errors import b", "lentigo/__init__.py imports no part"),
        ("data/a.py", "import lentigo.extras", "imports lentigo.extras, which is no part of the house"),
        ("extras/a.py", "", "extras is no part of the house"),
        ("evidence/a.py", "from lentigo.models import b", "models stands to the right of evidence"),
        ("evidence/a.py", "from lentigo.data import b", "data stands to the right of evidence"),
        ("evidence/a.py", "import torch", "must stay without torch but reaches it: evidence/a.py -> torch"),
        ("deploy/server.py", "def f():\n    from torch import nn", "deploy/server.py -> torch.nn"),
        ("deploy/screen.py", "import torchvision.transforms as t", "-> torchvision.transforms"),
        ("imaging.py", "from safetensors.torch import load_file", "-> safetensors.torch.load_file"),
        ("data/table.py", "import timm", "data/table.py -> timm"),
        ("learn/a.py", "print(1)", "uses print; only cli prints"),
        ("learn/a.py", "def f(log=print): ...", "uses print"),
        ("learn/a.py", "import sys\nsys.exit(1)", ":2 uses sys.exit"),
        ("learn/a.py", "from sys import exit as leave\nleave(1)", ":2 uses sys.exit"),
        ("learn/a.py", "import sys\nsys.stderr.write('x')", "uses sys.stderr.write"),
        ("learn/a.py", "raise SystemExit(1)", "raises SystemExit"),
        ("learn/a.py", "def f():\n    import argparse", ":2 imports argparse; only cli reads arguments"),
        ("compare.py", "from typer import Option", "imports typer.Option"),
        ("learn/a.py", "import pickle", "imports pickle; no pickle"),
        ("cli/a.py", "from pickle import loads", "imports pickle.loads; no pickle"),
        ("learn/a.py", "import torch\ntorch.load('x')", ":2 uses torch.load, which reads pickle"),
        ("learn/a.py", "import torch as t\nt.load('x', weights_only=True)", "uses torch.load"),
        ("learn/a.py", "from torch import load\nread = load", "uses torch.load"),
        ("data/a.py", "import numpy as np\nnp.load('x', allow_pickle=True)", "allows pickle"),
        ("data/a.py", "try:\n    f()\nexcept:\n    pass", ":3 catches everything; name the errors"),
        ("data/a.py", "try:\n    f()\nexcept Exception:\n    raise", ":3 catches Exception; name"),
        (
            "data/a.py",
            "try:\n    f()\nexcept (ValueError, Exception) as e:\n    pass",
            "catches Exception and ValueError",
        ),
        ("cli/a.py", "try:\n    f()\nexcept BaseException:\n    pass", "catches BaseException"),
        ("data/a.py", "with contextlib.suppress(Exception):\n    f()", "suppresses Exception; name"),
    ],
)
def test_checker_finds(path: str, source: str, wrong: str) -> None:
    found = violations({path: source})
    assert len(found) == 1, found
    assert found[0].startswith(path + ":")
    assert wrong in found[0]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "learn/a.py",
            "import torch\nfrom lentigo.models.b import c\nfrom .d import e\nfrom lentigo import __version__",
        ),
        ("data/augment.py", "import torch\nfrom ..errors import DataError\nfrom lentigo.files import write_csv"),
        ("cli/a.py", "import sys, typer\nfrom lentigo import compare\nprint(1)\nsys.exit(2)"),
        ("__main__.py", "from lentigo.cli import main\nmain()"),
        ("evidence/a.py", "import numpy\nfrom lentigo.errors import DataError\nfrom scipy.stats import bootstrap"),
        ("data/a.py", "from lentigo.evidence.metrics import roc_auc_score"),
        ("evidence/torch_words.py", "'import torch, pickle; print(1)'  # import torch"),
        ("data/a.py", "try:\n    f()\nexcept (OSError, ValueError):\n    pass\nlogger.print(1)\nmodel.load('x')"),
        ("data/a.py", "try:\n    f()\nexcept BaseException:\n    g()\n    raise"),
        ("data/a.py", "import numpy as np\nnp.load('x', allow_pickle=False)"),
        ("data/a.py", "try:\n    f()\nexcept SystemExit:\n    g()"),
    ],
)
def test_checker_lets_pass(path: str, source: str) -> None:
    assert violations({path: source}) == []


def test_checker_follows_imports_to_torch() -> None:
    files = {
        "data/__init__.py": "",
        "data/table.py": "from lentigo.errors import DataError",
        "data/pixels.py": "def f():\n    from . import tensors",
        "data/tensors.py": "import torch",
        "deploy/quality.py": "from lentigo.data import table",
        "deploy/screen.py": "from lentigo.data.pixels import f",
    }
    chain = "deploy/screen.py -> data/pixels.py -> data/tensors.py -> torch"
    assert violations(files) == [f"deploy/screen.py:1 must stay without torch but reaches it: {chain}"]
    files["data/__init__.py"] = "from .tensors import g"  # runs on every import from the folder
    assert way_to_torch("data/table.py", files) == ["data/table.py", "data/__init__.py", "data/tensors.py", "torch"]
    assert way_to_torch("deploy/quality.py", files) == [
        "deploy/quality.py",
        "data/__init__.py",
        "data/tensors.py",
        "torch",
    ]
