"""Files of scores: lentigo's own come back bit for bit, other programs' are read by their columns."""

import math
from pathlib import Path

import numpy as np
import pytest

from lentigo.data.predictions import Predictions, described_by, read_predictions
from lentigo.data.table import ImageRow, ImageTable
from lentigo.errors import DataError


def test_predictions_round_trip_exactly(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, size=3000, dtype=np.uint32).view(np.float32)
    finite = bits[np.isfinite(bits)]
    extremes = np.array([0.0, -0.0, 1 / 3, np.finfo(np.float32).max, np.finfo(np.float32).tiny, 1e-45], np.float32)
    logits = np.concatenate([finite, extremes, np.nextafter(np.float32(1), np.float32([0, 2]))])
    ids = tuple(f"folder, with comma/{index}.jpg" for index in range(len(logits)))
    written = Predictions(ids, np.arange(len(logits)) % 2, logits)
    written.write(tmp_path / "predictions.csv")
    read = read_predictions(tmp_path / "predictions.csv")
    assert read.ids == ids
    np.testing.assert_array_equal(read.labels, written.labels)
    np.testing.assert_array_equal(read.logits.view(np.uint32), logits.view(np.uint32))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "image,label\na,1\n",
            "has no column logit or probability, only image, label; give one image a line, with the columns image, "
            "label and logit, as `lentigo evaluate` writes them",
        ),
        ("image;label;logit\na;1;0\n", "only image;label;logit; give one image a line"),
        ("image;label;logit\na;1;0\n", "save it with commas between the columns"),
        ("image,label,logit\n", "has no line below its header; one line an image is needed"),
        ("image,label,logit\na,1,0.5\nb,2,0.5\n", "line 3: label is '2'; it must be 0 or 1, benign or malignant"),
        ("image,label,logit\n,1,0.5\n", "line 2: names no image; fill the cell"),
        ("image,label,probability\na,1,1.5\n", "line 2: probability is '1.5'; it must be a number in [0, 1]"),
        ("image,label,p\na,1,\n", "line 2: p is ''; it must be a number in [0, 1]"),
        ("image,label,logit\na,,0.5\n", "line 2: label is ''"),
        ("image,label,logit\na,1,high\n", "line 2: logit is 'high'; it must be a finite number"),
        ("image,label,logit\na,1,nan\n", "line 2: logit is 'nan'"),
        ("image,label,logit\na,1,1e39\n", "line 2: logit is '1e39'"),
        ("image,label,logit\na,1,0.5\na,1,0.5\n", "line 3: a stands twice; keep one of the lines"),
    ],
)
def test_predictions_that_do_not_hold_together_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as refusal:
        read_predictions(path)
    assert str(refusal.value).startswith(f"{path} ")
    assert message in str(refusal.value)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_of_another_program(tmp_path: Path) -> None:
    text = "Filename,Target,Prob,Sex,Lesion_ID\nx.png,malignant,0.8,male,L1\ny.png,benign,0,female,\nz.png,b,1,,L1\n"
    read = read_predictions(write(tmp_path / "other.csv", text))
    assert read.ids == ("x.png", "y.png", "z.png")
    assert read.labels.tolist() == [1, 0, 0]
    assert read.logits.tolist() == [np.float32(math.log(4)), -math.inf, math.inf]
    assert [(row.sex, row.lesion, row.source) for row in read.rows] == [
        ("male", "L1", ""),
        ("female", "", ""),
        ("", "L1", ""),
    ]


def test_labels_of_other_names(tmp_path: Path) -> None:
    path = write(tmp_path / "other.csv", "image,dx,logit\na,mel,1\nb,nv,-1\nc,bcc,2\n")
    assert read_predictions(path, positive=["mel", "bcc"]).labels.tolist() == [1, 0, 1]
    with pytest.raises(DataError, match=r"line 2: label is 'mel'; it must be 0 or 1, .* --positive names"):
        read_predictions(path)


def test_a_logit_is_preferred_to_a_probability(tmp_path: Path) -> None:
    read = read_predictions(write(tmp_path / "both.csv", "image,label,probability,logit\na,1,0.5,2\n"))
    assert read.logits.tolist() == [2.0]


def made(**cells: dict[str, str]) -> ImageTable:
    rows = tuple(
        ImageRow(id=name, path=Path(name), label=int(name.startswith("m")), **more) for name, more in cells.items()
    )
    return ImageTable(root=Path("clinic"), rows=rows)


def test_a_table_describes_predictions_in_their_order(tmp_path: Path) -> None:
    path = write(tmp_path / "predictions.csv", "image,label,logit,site,age\nm1,1,1,back,50\nb1,0,-1,,\n")
    table = made(b1={"age": "70"}, m1={"age": "60"}, b2={"age": "30"})
    found = described_by(read_predictions(path), table)
    assert [(row.id, row.age, row.site) for row in found.rows] == [("m1", "60", "back"), ("b1", "70", "")]
    plain = Predictions(("b2",), np.array([0]), np.zeros(1, np.float32))
    assert [row.age for row in described_by(plain, table).rows] == ["30"]


def test_predictions_of_other_data_or_labels_are_refused() -> None:
    table = made(b1={}, m1={})
    with pytest.raises(DataError, match=r"^x is not in clinic; give the data that the predictions were made on"):
        described_by(Predictions(("x",), np.array([0]), np.zeros(1, np.float32)), table)
    with pytest.raises(DataError, match=r"^m1 is 0 in the predictions and 1 in clinic; correct one of the labels"):
        described_by(Predictions(("m1",), np.array([0]), np.zeros(1, np.float32)), table)
