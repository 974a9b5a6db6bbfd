"""Files are written whole or not at all: under a temporary name in the same folder, then renamed."""

import contextlib
import csv
import hashlib
import io
import json
import math
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lentigo.errors import DataError


@contextlib.contextmanager
def whole_file(path: Path, *, private: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on any exception nothing is left of it.

    Args:
        private: only its owner may read it, from its first byte on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    temporary.touch(mode=0o600 if private else 0o666, exist_ok=False)
    mode = temporary.stat().st_mode  # of any new file here; some writers would make it their own
    try:
        yield temporary
        _flush_to_disk(temporary)
        temporary.chmod(mode)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write a file; a private one is its owner's alone.

    Raises: DataError: it cannot be written; an older file of that name is still there.
    """
    try:
        with whole_file(path, private=private) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error}); free space, or choose a folder you may write to"
        ) from error


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Write text as UTF-8.

    Raises: DataError: as `write_bytes`.
    """
    write_bytes(path, text.encode("utf-8"), private=private)


def write_json(path: Path, content: Any, *, private: bool = False) -> None:
    """Write `content` as readable JSON; NaN and infinity become null, since JSON has neither.

    Raises: DataError: as `write_bytes`.
    """
    text = json.dumps(_json_safe(content), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n", private=private)


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises: DataError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; run the stage that writes it, or check the path") from None
    except (ValueError, OSError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}); write it again with the stage it is from") from error


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV with a header line.

    Raises: DataError: as `write_bytes`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a CSV with a header line: every cell a stripped string, a missing cell empty, an empty line skipped.

    Raises: DataError: the file is missing, empty or not UTF-8 text, a quote is not closed, a column stands twice,
        or a row has more cells than the header.
    """
    return [row for _, row in read_numbered_csv(path)]


def read_numbered_csv(path: Path) -> list[tuple[int, dict[str, str]]]:
    """As `read_csv`, each row with the number of its line in the file, for messages; the header's is 1."""
    try:
        reader = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig")), strict=True)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; check the path") from None
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text ({error}); save it as a UTF-8 CSV") from error
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(path, header)
        return [(reader.line_num, _csv_row(path, reader.line_num, header, cells)) for cells in reader if cells]
    except csv.Error as error:  # a quote that is not closed would otherwise swallow the lines behind it
        raise DataError(f"{path} line {reader.line_num} is not CSV ({error}); mend its quotes") from error


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_header(path: Path, header: list[str]) -> None:
    if not any(header):
        raise DataError(f"{path} is empty; a CSV with a header line is needed")
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise DataError(f"{path} has the column {' and '.join(twice)} more than once; rename or delete one")


def _csv_row(path: Path, number: int, header: list[str], cells: list[str]) -> dict[str, str]:
    if len(cells) > len(header):
        raise DataError(
            f"{path} line {number} has {len(cells)} cells, the header {len(header)}; "
            "delete the others, or put quotes around a cell that holds a comma"
        )
    padded = [*cells, *[""] * (len(header) - len(cells))]
    return {name: cell.strip() for name, cell in zip(header, padded, strict=True) if name}


def _json_safe(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_safe(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return _json_safe(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _flush_to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
