"""What the scores in this folder are worth: the same images judged by their frame alone, and scores within one archive.

Run: python results/paper/what_it_is_worth.py ../shared/data/kaggle10605 split.csv predictions/*.csv
Prints a table: AUC on all 2,000 test images and on those of ISIC 2020, the only archive here with both classes, for

* gradient boosting on 12 numbers of an 8 px frame (mean and standard deviation of each channel on the left and right,
  and on the upper and lower edges): next to no lesion is in them; fitted to the split's training images;
* every network of this folder.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import accuracy_score, roc_auc_score

from lentigo.data.pack import pack_images
from lentigo.data.predictions import read_predictions
from lentigo.data.split import read_split
from lentigo.data.table import read_table

FRAME_PX = 8


def frame_features(images: np.ndarray) -> np.ndarray:
    """(image, 12): mean and standard deviation of each channel on the vertical and on the horizontal edges."""
    sides = np.concatenate([images[:, :, :FRAME_PX], images[:, :, -FRAME_PX:]], axis=2)
    ends = np.concatenate([images[:, :FRAME_PX], images[:, -FRAME_PX:]], axis=1)
    parts = [part.reshape(len(images), -1, 3).astype(np.float32) for part in (sides, ends)]
    return np.concatenate([f(part, axis=1) for part in parts for f in (np.mean, np.std)], axis=1)


def main(data: Path, split_file: Path, *prediction_files: Path) -> None:
    table = read_table(data)
    split = read_split(split_file, table)
    pack = pack_images(table, image_px=300)
    train, test = split.indices(table, "train"), split.indices(table, "test")
    pieces = np.array_split(np.arange(len(table)), 100)
    features = np.concatenate([frame_features(pack.read(piece)) for piece in pieces])
    labels = table.labels
    boosting = HistGradientBoostingClassifier(random_state=0).fit(features[train], labels[train])
    inside = np.array(table.column("source"))[test] == "isic2020"
    rows = {"frame of 8 px": boosting.decision_function(features[test])}
    for file in prediction_files:
        predictions = read_predictions(file)
        assert list(predictions.ids) == [table.ids[index] for index in test], f"{file} is of other images"
        rows[file.stem] = predictions.logits
    truth = labels[test]
    print(f"{'':<26}{'all: AUC':>10}{'accuracy':>10}{'ISIC 2020: AUC':>16}")
    counts = [f"{len(test)} ({truth.sum()})", f"{inside.sum()} ({truth[inside].sum()})"]
    print(f"{'images (malignant)':<26}{counts[0]:>20}{counts[1]:>16}")
    for name, logits in rows.items():
        whole, within = roc_auc_score(truth, logits), roc_auc_score(truth[inside], logits[inside])
        print(f"{name:<26}{whole:>10.3f}{accuracy_score(truth, logits >= 0):>10.3f}{within:>16.3f}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
