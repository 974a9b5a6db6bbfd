"""Fetching public data sets into a folder of class folders."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

from lentigo.data.table import IMAGE_SUFFIXES, read_table
from lentigo.errors import DataError


@dataclass(frozen=True, kw_only=True)
class PublicDataSet:
    """A data set that can be fetched by name."""

    handle: str  # on Kaggle: owner/name
    images: int
    about: str


DATA_SETS = {
    "kaggle-10k": PublicDataSet(
        handle="hasnainjaved/melanoma-skin-cancer-dataset-of-10000-images",
        images=10_605,
        about="Melanoma Skin Cancer Dataset of 10000 Images, the paper's: 5,500 benign and 5,105 malignant, 104 MB",
    ),
}


def fetch(name: str, to: Path) -> Path:
    """Download a public data set through kagglehub and lay its class folders into `to/name`.

    Returns: the folder, to be given to `lentigo compare`; one that is there already is checked and returned.
    Raises: DataError: unknown name, no kagglehub, no connection, or the download is not the data set it should be.
    """
    if name not in DATA_SETS:
        raise DataError(f"no data set is called {name!r}; known are {', '.join(DATA_SETS)}")
    data_set, folder = DATA_SETS[name], to / name
    if not folder.exists():
        _lay(_download(data_set), folder)
    found = len(read_table(folder))
    if found != data_set.images:
        raise DataError(
            f"{folder} holds {found} images, {name} has {data_set.images}; delete the folder and fetch it again"
        )
    return folder


def _download(data_set: PublicDataSet) -> Path:
    try:
        import kagglehub
        import requests
    except ImportError as error:
        raise DataError(f"fetching needs {error.name}; install it with: pip install 'lentigo[fetch]'") from error
    try:
        return Path(kagglehub.dataset_download(data_set.handle))
    except (OSError, URLError, requests.RequestException, ValueError) as error:
        raise DataError(
            f"{data_set.handle} could not be downloaded from Kaggle ({type(error).__name__}: {error}); check the "
            "connection, or download it in a browser and give its folder to `lentigo compare`"
        ) from error


def _lay(downloaded: Path, folder: Path) -> None:
    """Copy the folder that holds train/ and test/ to its place, whole or not at all."""
    roots = [train.parent for train in sorted(downloaded.rglob("train")) if (train.parent / "test").is_dir()]
    if len(roots) != 1:
        raise DataError(
            f"{downloaded} holds {len(roots)} folders with train/ and test/, not one; give one to `compare`"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        for file in sorted(roots[0].rglob("*")):
            if file.suffix.lower() in IMAGE_SUFFIXES:
                target = temporary / file.relative_to(roots[0])
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
        temporary.chmod(0o755)
        temporary.rename(folder)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error}; free space or give another folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
