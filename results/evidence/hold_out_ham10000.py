"""One table out of two data sets, so that networks can be trained without HAM10000 and tested on it alone.

Run: python results/evidence/hold_out_ham10000.py ../shared/data hold-out [--even]

Writes hold-out/metadata.csv: all of kaggle10605, whose malignant images include 1,113 melanomas of HAM10000, and the
1,740 benign images of ham10000 under the same source name. The carcinomas of ham10000 (bcc, akiec) stay out, since
kaggle10605 has melanomas alone. `lentigo train hold-out --protocol hold-out-source=ham10000` then deals the rest.

kaggle10605 holds its images at 300 x 300 pixels, ham10000 at 200 x 150, so the test's classes differ in sharpness. With
--even the melanomas of the test are written anew at 200 x 150, as JPEG with the quantisation tables of a ham10000 file,
into hold-out/even/, and the table, of test images alone, is hold-out/even.csv.
"""

import csv
import os
import sys
from pathlib import Path

from PIL import Image

COLUMNS = ("image", "label", "source", "lesion_id", "age", "sex", "site", "diagnosis", "mask")
SIZE = (200, 150)  # of ham10000's images


def main(data: Path, out: Path, *, even: bool) -> None:
    """Write metadata.csv; with `even` also the smaller melanomas and even.csv."""
    out.mkdir(parents=True, exist_ok=True)
    kaggle = [row | {"diagnosis": ""} for row in rows_of(data / "kaggle10605")]
    benign = [row | {"source": "ham10000"} for row in rows_of(data / "ham10000") if row["label"] == "benign"]
    write(out / "metadata.csv", [*kaggle, *benign], out)
    if even:
        melanomas = [row for row in kaggle if row["source"] == "ham10000"]
        like = Path(benign[0]["image"])
        smaller = [row | {"image": reduced(Path(row["image"]), out / "even", like=like)} for row in melanomas]
        write(out / "even.csv", [*smaller, *benign], out)


def rows_of(folder: Path) -> list[dict[str, str]]:
    """The lines of a data set's table, with whole paths."""
    with (folder / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        for column in ("image", "mask"):
            row[column] = str((folder / row[column]).resolve()) if row[column] else ""
    return rows


def reduced(image: Path, folder: Path, *, like: Path) -> str:
    """The image at the size of ham10000's, in `folder`, with the JPEG quantisation of the file `like`."""
    folder.mkdir(exist_ok=True)
    target = folder / image.name
    with Image.open(like) as model, Image.open(image) as picture:
        small = picture.convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)
        small.save(target, "JPEG", qtables=model.quantization)
    return str(target.resolve())


def write(path: Path, rows: list[dict[str, str]], out: Path) -> None:
    """The table with paths relative to `out`."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            place = {
                column: os.path.relpath(row[column], out.resolve()) if row[column] else ""
                for column in ("image", "mask")
            }
            writer.writerow(row | place)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), even="--even" in sys.argv[3:])
