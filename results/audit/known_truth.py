"""Are the images that two data sets share found? `audit.json` of `--against` beside the ISIC ids in both tables.

Run: python results/audit/known_truth.py AUDIT.json OURS THEIRS, with the two folders that the audit compared
"""

import json
import sys
from pathlib import Path

from lentigo.data.table import METADATA, read_table
from lentigo.files import read_csv


def isic_ids(data: Path) -> dict[str, str]:
    """The ISIC id of every image, by the id that lentigo gives it; empty where the table has none."""
    lines = {line["image"]: line["isic_id"] for line in read_csv(data / METADATA)}
    return {name: lines[name] for name in read_table(data).ids}


def main(audit: Path, ours: Path, theirs: Path) -> None:
    against = json.loads(audit.read_text())["against"]
    mine, other = isic_ids(ours), isic_ids(theirs)
    there = {name for name in other.values() if name}
    shared = {name for name, isic in mine.items() if isic in there}
    found = {pair[0] for pair in against["pairs"]}
    by_id = {pair[0] for pair in against["pairs"] if mine[pair[0]] and mine[pair[0]] == other[pair[1]]}
    print(f"images of {ours.name} whose ISIC id is also in {theirs.name}: {len(shared)}")
    print(f"of these paired with the image of that id: {len(by_id & shared)}, with any image: {len(found & shared)}")
    print(f"found, though their id is not there: {len(found - shared)}")
    labels = {row.id: row.label for row in read_table(ours).rows}
    malignant = {name for name, label in labels.items() if label == 1}
    print(f"malignant images of {ours.name}: {len(malignant)}, found: {len(found & malignant)}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
