"""The command line as a user meets it: in a process of its own, by what it prints and how it exits."""

import inspect
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.models import OptionInfo

from lentigo import cli
from lentigo.cli import data_commands, evidence_commands, explain_commands, tune_commands, use_commands
from lentigo.config import ALLOWED_PROTOCOLS, PROTOCOLS, SOURCE_PROTOCOLS, Experiment
from lentigo.data.synthetic import write_dataset
from lentigo.errors import ConfigError

COMMANDS = (
    "compare",
    "audit",
    "train",
    "evaluate",
    "explain",
    "split",
    "fetch",
    "draw",
    "models",
    "tune",
    "export",
    "predict",
    "serve",
)
FAST = ["--set", "data.image_px=64", "--set", "preprocessing.resize_px=32", "--set", "train.batch_size=8"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "drawn", count=40, size_px=64, seed=5, workers=1)


def lentigo(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error::UserWarning", "-m", "lentigo.cli", *map(str, arguments)]
    environment = os.environ | {"LENTIGO_CACHE": str(cwd / "cache"), "COLUMNS": "100", "NO_COLOR": "1"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


def called(*arguments: str | Path, monkeypatch: pytest.MonkeyPatch, expect: int = 0) -> None:
    """The same in this process, which spares the second that importing torch takes."""
    monkeypatch.setattr(sys, "argv", ["lentigo", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert (caught.value.code or 0) == expect


def test_help_names_every_command_and_what_it_is_not(tmp_path: Path) -> None:
    shown = lentigo("--help", cwd=tmp_path)
    assert shown.returncode == 0
    assert "not a medical device" in " ".join(shown.stdout.split())
    for command in COMMANDS:
        assert f" {command} " in shown.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example_in_its_help(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called(command, "--help", monkeypatch=monkeypatch)
    shown = capsys.readouterr().out
    assert f"lentigo {command}" in shown[shown.index("Examples:") :]


def test_an_option_with_a_placeholder_has_its_name_written_out() -> None:
    """Typer up to 0.27 would call it by the placeholder: --PROTOCOL."""
    modules = (cli, data_commands, evidence_commands, explain_commands, tune_commands, use_commands)
    apps = [module.app for module in modules]
    callbacks = [command.callback for app in apps for command in app.registered_commands if command.callback]
    assert len(callbacks) >= len(COMMANDS)
    told = 0
    for callback in callbacks:
        for name, parameter in inspect.signature(callback).parameters.items():
            for given in getattr(parameter.annotation, "__metadata__", ()):
                if isinstance(given, OptionInfo) and given.metavar:
                    # In an Annotated typer takes the first name for the default until it builds the command.
                    named = [word for word in (given.default, *given.param_decls) if isinstance(word, str)]
                    assert any(word.startswith("--") for word in named), name
                    told += 1
    assert told >= 8


@pytest.mark.parametrize("command", ["compare", "audit", "train", "split"])
def test_help_names_every_protocol(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called(command, "--help", monkeypatch=monkeypatch)
    option = capsys.readouterr().out.split("--protocol ")[1].split("--split ")[0].split("--seed ")[0]
    words = re.findall(r"[\w=-]+", option)
    assert {*PROTOCOLS, *(f"{kind}=NAME" for kind in SOURCE_PROTOCOLS)} <= set(words)


def test_a_split_within_one_source(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    of_class = [sorted(drawn.glob(f"*/{name}/*.jpg")) for name in ("benign", "malignant")]  # 20 each
    source = {path: "ab"[index % 2] for files in of_class for index, path in enumerate(files)}
    rows = [f"{path},{path.parent.name},{source[path]}" for path in source]
    (tmp_path / "mine.csv").write_text("\n".join(["image,label,source", *rows]) + "\n")
    called(
        "split", tmp_path / "mine.csv", "--protocol", "within-source=b", "--test-fraction", "0.3",
        "--validation-fraction", "0.3", "--out", tmp_path / "split.csv", monkeypatch=monkeypatch,
    )  # fmt: skip
    shown = capsys.readouterr().out
    assert f"protocol within-source=b, seed 0: {tmp_path / 'split.csv'}\n" in shown
    assert "\nexclude          10 benign      10 malignant\n" in shown
    lines = [line.rsplit(",", 1) for line in (tmp_path / "split.csv").read_text().splitlines()[1:]]
    assert {(tmp_path / name).resolve(): part == "exclude" for name, part in lines} == {
        path.resolve(): name == "a" for path, name in source.items()
    }


def test_an_error_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    shown = lentigo("compare", "nowhere", cwd=tmp_path)
    assert shown.returncode == 2
    assert shown.stdout == ""
    assert shown.stderr == (
        "lentigo: nowhere does not exist; give a folder with benign/ and malignant/, or a CSV file\n"
    )


@pytest.mark.parametrize("where", [0, 2])
def test_debug_shows_the_traceback_wherever_it_stands(tmp_path: Path, where: int) -> None:
    arguments = ["compare", "nowhere"]
    arguments.insert(where, "--debug")
    shown = lentigo(*arguments, cwd=tmp_path)
    assert shown.returncode == 1
    assert "Traceback" in shown.stderr
    assert "DataError: nowhere does not exist" in shown.stderr


def test_an_unknown_option_is_exit_code_2_without_a_traceback(tmp_path: Path) -> None:
    shown = lentigo("split", "--nonsense", cwd=tmp_path)
    assert shown.returncode == 2
    assert "--nonsense" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_one_command_after_the_other(drawn: Path, tmp_path: Path) -> None:
    """split, train with the edited split, evaluate, explain; the split that was handed in is the one that is used."""
    assert lentigo("split", drawn, "--validation-fraction", "0.2", cwd=tmp_path).returncode == 0
    edited = (tmp_path / "split.csv").read_text().replace(",train\n", ",exclude\n", 1)
    (tmp_path / "split.csv").write_text(edited)
    made = lentigo("train", drawn, "--out", "run", "--split", "split.csv", "--epochs", "1", *FAST, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "epoch 1: loss" in made.stderr
    assert (tmp_path / "run" / "split.csv").read_text() == edited
    shown = lentigo("evaluate", "run", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert f"auc         {metrics['auc']:.3f} ({metrics['auc_low']:.3f} to {metrics['auc_high']:.3f})" in shown.stdout
    assert "on 10 images, 5 malignant; 95 % intervals" in shown.stdout
    assert "Of 1,000 people with 10 malignant moles, it would send" in shown.stdout
    evidence = json.loads((tmp_path / "run" / "evidence.json").read_text())
    assert evidence["scores"]["auc"]["value"] == metrics["auc"]
    probes = json.loads((tmp_path / "run" / "shortcuts.json").read_text())["probes"]
    best = max(probes[name]["test_auc"] or 0 for name in ("frame", "corners", "dark_corners", "outside_mask"))
    assert f"with next to nothing of the lesion in view: AUC {best:.3f} (" in shown.stdout
    assert "on the same images" in shown.stdout
    assert "not a medical device" in shown.stdout
    shown = lentigo("explain", "run", cwd=tmp_path)
    assert "10 maps of 8x8 cells" in shown.stdout, shown.stderr


def test_compare_reads_its_options(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, cache = tmp_path / "out", tmp_path / "cache"
    called(
        "compare", drawn, "--out", out, "--cache", cache, "--models", "tiny_vgg", "--epochs", "1", "--seed", "7",
        "--set", "split.validation_fraction=0.2", *FAST, monkeypatch=monkeypatch,
    )  # fmt: skip
    told = json.loads((out / "comparison.json").read_text())
    assert (told["seed"], told["protocol"], list(told["models"])) == (7, "folders", ["tiny_vgg"])
    assert told["models"]["tiny_vgg"]["epochs"] == 1
    assert told["command"].startswith("lentigo compare ")


def test_evaluate_on_other_data_scores_every_image(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_dataset(tmp_path / "elsewhere", count=12, size_px=48, seed=9, workers=1)
    common = ["--cache", tmp_path / "cache"]
    called(
        "train", drawn, "--out", tmp_path / "run", "--epochs", "1", "--set", "split.validation_fraction=0.2", *FAST,
        *common, monkeypatch=monkeypatch,
    )  # fmt: skip
    called("evaluate", tmp_path / "run", "--data", other, *common, monkeypatch=monkeypatch)
    (scored,) = (tmp_path / "run" / "evaluations").iterdir()
    assert scored.name.startswith("elsewhere-")
    metrics = json.loads((scored / "metrics.json").read_text())
    assert (metrics["n"], metrics["n_malignant"]) == (12, 6)
    assert not (tmp_path / "run" / "metrics.json").exists()
    called("explain", tmp_path / "run", "--data", other, "--maps-only", *common, monkeypatch=monkeypatch)
    explained = json.loads((scored / "explanation.json").read_text())
    assert (explained["images"], explained["look"]["images"]) == (12, 12)
    assert not {"background", "faithfulness"} & set(explained)


def test_a_run_whose_data_changed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_dataset(tmp_path / "drawn", count=40, size_px=48, seed=6, workers=1)
    common = ["--cache", tmp_path / "cache"]
    called(
        "train", data, "--out", tmp_path / "run", "--epochs", "1", "--set", "split.validation_fraction=0.2", *FAST,
        *common, monkeypatch=monkeypatch,
    )  # fmt: skip
    changed = sorted((data / "test" / "benign").iterdir())
    changed[0].write_bytes(changed[1].read_bytes())
    called("evaluate", tmp_path / "run", *common, monkeypatch=monkeypatch, expect=2)
    assert "has changed since" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--limit", "vgg11"], "--limit vgg11: give MODEL=MINUTES with a model of tiny_vgg"),
        (["--limit", "vgg11=5"], "with a model of tiny_vgg and minutes above 0"),
        (["--limit", "tiny_vgg=-1"], "minutes above 0"),
        (["--set", "train.epoch=3"], "unknown key train.epoch; allowed here: epochs"),
        (["--set", "train"], "--set train: give TABLE.KEY=VALUE"),
        (["--models", "tiny_vgg", "--config", "x.toml"], "--config and --models both say which networks"),
        (["--models", "tiny"], "model.name is 'tiny'; registered are tiny_vgg"),
        (["--protocol", "paper"], "the paper's protocols need its 5500 and 5105"),
        (["--protocol", "random"], f"--protocol random: give {ALLOWED_PROTOCOLS}\n"),
        (["--protocol", "hold-out-source"], "--protocol hold-out-source: give paper, paper-grouped, "),
        (["--split", "missing.csv"], "missing.csv does not exist"),
        (["--config", "missing.toml"], "missing.toml does not exist"),
    ],
)
def test_options_that_are_refused(
    drawn: Path, tmp_path: Path, options: list[str], message: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    given = [] if {"--models", "--config"} & set(options) else ["--models", "tiny_vgg"]
    place = ["--out", tmp_path / "out", "--cache", tmp_path / "cache"]
    called("compare", drawn, *place, *given, *options, monkeypatch=monkeypatch, expect=2)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("setting", "path", "value"),
    [
        ("train.epochs=3", ("train", "epochs"), 3),
        ("train.learning_rate = 1e-3", ("train", "learning_rate"), 1e-3),
        ("split.protocol=grouped", ("split", "protocol"), "grouped"),
        ("seed=4", ("seed",), 4),
        ("train.betas=[0.8, 0.99]", ("train", "betas"), (0.8, 0.99)),
    ],
)
def test_one_setting_changes_one_key(setting: str, path: tuple[str, ...], value: object) -> None:
    changed = Experiment().with_setting(setting)
    found: object = changed
    for part in path:
        found = getattr(found, part)
    assert found == value
    before, after = (json.dumps(e.model_dump()).split(",") for e in (Experiment(), changed))
    assert sum(one != other for one, other in zip(before, after, strict=True)) <= (2 if path[-1] == "betas" else 1)


def test_a_setting_below_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^--set seed.x=1: seed is a value, not a table"):
        Experiment().with_setting("seed.x=1")
    assert Experiment().with_setting("model.options.width=0.5").model.options == {"width": 0.5}


def test_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    called("--version", monkeypatch=monkeypatch)
    assert capsys.readouterr().out == "lentigo 0.1.0\n"


def interrupted(*arguments: str | Path, cwd: Path, seen: str) -> tuple[int, str]:
    """Start a command, send it a real Ctrl-C once it has printed `seen`; its exit code and the last line it printed."""
    command = [sys.executable, "-m", "lentigo.cli", *map(str, arguments)]
    environment = os.environ | {"LENTIGO_CACHE": str(cwd / "cache"), "NO_COLOR": "1"}
    process = subprocess.Popen(command, cwd=cwd, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line.rstrip("\n"))
        if seen in line:
            process.send_signal(signal.SIGINT)
    process.stderr.close()
    return process.wait(timeout=120), lines[-1]


def test_ctrl_c_in_a_training_saves_it_and_says_how_to_go_on(drawn: Path, tmp_path: Path) -> None:
    long = [*FAST, "--epochs", "2000", "--set", "split.validation_fraction=0.2"]
    code, line = interrupted("train", drawn, "--out", "run", *long, cwd=tmp_path, seen="epoch 2:")
    assert code == 130
    assert line.startswith("lentigo: stopped in epoch ")
    assert line.endswith(f"the state is saved in run; to go on, give `lentigo train {drawn} --out run --resume`")
    assert (tmp_path / "run" / "resume.safetensors").is_file()


def test_a_training_that_the_time_limit_ended_says_so(lentigo: Callable[..., str], drawn: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    told = lentigo("train", drawn, "--out", run, *FAST, "--epochs", "500", "--limit-minutes", "0.0001")
    done = json.loads((run / "run.json").read_text())
    assert done["epochs"] < 500
    assert told.startswith(
        f"the time limit ended the training after {done['epochs']} of 500 epochs ({done['steps']} steps); "
    )
    assert told.endswith(f"trained: {run / 'checkpoint.safetensors'}\n")
    whole = lentigo("train", drawn, "--out", tmp_path / "whole", *FAST, "--epochs", "1")
    assert whole == f"trained: {tmp_path / 'whole' / 'checkpoint.safetensors'}\n"


def test_ctrl_c_elsewhere_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lentigo.data.fetch.fetch", stop)
    called("fetch", "kaggle-10k", monkeypatch=monkeypatch, expect=130)
    told = "lentigo: stopped; what was finished is kept; to go on, give the same command again\n"
    assert capsys.readouterr().err == told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", "3"], "--resume goes on as run was begun; leave out every option but --out and --cache"),
        ([], "run holds no training to go on with; check --out, or leave out --resume"),
    ],
)
def test_a_resume_that_is_meant_otherwise_is_refused(
    drawn: Path, options: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    called("train", drawn, "--out", "run", "--resume", *options, monkeypatch=monkeypatch, expect=2)
    assert capsys.readouterr().err == f"lentigo: {message}\n"


def test_a_run_from_a_csv_with_its_own_labels_is_found_again(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{path},{'melanoma' if 'malignant' in str(path) else 'nevus'}" for path in sorted(drawn.rglob("*.jpg"))]
    (tmp_path / "mine.csv").write_text("\n".join(["image,label", *rows]) + "\n")
    common = ["--cache", tmp_path / "cache"]
    melanoma = ["--positive", "melanoma"]
    called(
        "train", tmp_path / "mine.csv", "--out", tmp_path / "run", "--epochs", "1", *FAST, *melanoma, *common,
        monkeypatch=monkeypatch,
    )  # fmt: skip
    called("evaluate", tmp_path / "run", *common, monkeypatch=monkeypatch)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["data"]["root"] == "mine"
    called("evaluate", tmp_path / "run", "--positive", "nevus", *common, monkeypatch=monkeypatch, expect=2)
    assert "now gives other labels than" in capsys.readouterr().err


def test_a_protocol_in_the_experiment_file_counts_and_none_means_the_data_s_folders(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("silent", ""), ("told", '[split]\nprotocol = "stratified"\n')):
        (tmp_path / f"{name}.toml").write_text(text)
        called(
            "train", drawn, "--config", tmp_path / f"{name}.toml", "--out", tmp_path / name, "--epochs", "1", "--cache",
            tmp_path / "cache", "--set", "split.validation_fraction=0.2", *FAST, monkeypatch=monkeypatch,
        )  # fmt: skip
    assert 'protocol = "folders"' in (tmp_path / "silent" / "experiment.toml").read_text()
    assert 'protocol = "stratified"' in (tmp_path / "told" / "experiment.toml").read_text()


def test_an_absent_extra_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def lacking(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(cli, "app", lacking)
    called("models", monkeypatch=monkeypatch, expect=2)
    told = "lentigo: this command needs torch; install it with: pip install 'lentigo[train]'\n"
    assert capsys.readouterr().err == told


def test_without_opencv_splits_are_still_made_and_the_audit_says_what_to_install(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("copies", "duplicates", "descriptor", "alignment", "audit"):
        monkeypatch.delitem(sys.modules, f"lentigo.data.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "cv2", None)  # as if it were not installed
    called("split", drawn, "--protocol", "stratified", "--out", tmp_path / "split.csv", monkeypatch=monkeypatch)
    assert (tmp_path / "split.csv").is_file()
    for arguments in (["audit", drawn, "--out", tmp_path / "audit"], ["split", drawn, "--protocol", "grouped"]):
        called(*arguments, monkeypatch=monkeypatch, expect=2)
        assert (
            "lentigo: this command needs cv2; install it with: pip install 'lentigo[train]'" in capsys.readouterr().err
        )
    assert not (tmp_path / "audit").exists()
