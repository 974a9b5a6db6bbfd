"""The one picture of a multipart form: in a request, out its name and bytes, once in memory and in no file."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import Request

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_PARTS = 8
MAX_NAME = 80  # letters of a file name that are shown
FIELD = "image"
ADVICE = f"send a multipart/form-data form whose field {FIELD} is one picture file"


@dataclass(frozen=True)
class Upload:
    """What a client sent."""

    name: str  # printable, without folders; "image" where there was none
    data: bytearray


async def read_upload(request: Request) -> Upload:
    """The picture in the field `image`.

    Raises: HTTPException: 415 another kind of body, 400 not a form that can be read, 422 no picture in it, or more than
        one; and what the guard refuses while reading.
    """
    header = request.headers.get("content-type", "")
    kind, options = parse_options_header(header)
    if kind != b"multipart/form-data":
        found = f"The body is {header[:60]}" if header else "The request has no Content-Type"
        raise HTTPException(415, f"{found}; {ADVICE}.")
    form = _Form()
    try:
        if not options.get(b"boundary"):
            raise FormParserError("its Content-Type names no boundary")
        parser = MultipartParser(options[b"boundary"], form.callbacks())
        async for piece in request.stream():
            parser.write(piece)
        if not form.ended:
            raise FormParserError("it ends before its last boundary")
    except FormParserError as error:
        raise HTTPException(400, f"The form cannot be read ({str(error)[:80]}); {ADVICE}.") from error
    return _picture_in(form.parts)


def shown_name(name: str) -> str:
    """A client's file name as answers may show it: without folders or control characters, and not long."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in last if letter.isprintable()).strip()[:MAX_NAME] or "image"


@dataclass
class _Part:
    disposition: bytearray = field(default_factory=bytearray)
    data: bytearray = field(default_factory=bytearray)

    def option(self, name: bytes) -> str | None:
        """The part's name or file name; browsers write UTF-8."""
        value = parse_options_header(bytes(self.disposition))[1].get(name)
        return None if value is None else value.decode("utf-8", errors="replace")


class _Form:
    """The parts of a form, put together from what the parser calls."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.ended = False
        self._header = bytearray()

    def callbacks(self) -> "MultipartCallbacks":
        """For python_multipart."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": self._value,
            "on_header_end": self._header.clear,
            "on_part_data": lambda data, start, end: self.parts[-1].data.extend(memoryview(data)[start:end]),
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.parts) == MAX_PARTS:
            raise FormParserError(f"it has more than {MAX_PARTS} parts")
        self.parts.append(_Part())

    def _value(self, data: bytes, start: int, end: int) -> None:
        if self._header.lower() == b"content-disposition":
            self.parts[-1].disposition.extend(data[start:end])

    def _end(self) -> None:
        self.ended = True


def _picture_in(parts: list[_Part]) -> Upload:
    found = [part for part in parts if part.option(b"name") == FIELD]
    if len(found) != 1:
        named = ", ".join(repr((part.option(b"name") or "")[:40]) for part in parts) or "none"
        raise HTTPException(422, f"The form has {len(found)} parts named {FIELD} (its parts: {named}); {ADVICE}.")
    name = found[0].option(b"filename")
    if name is None:
        raise HTTPException(422, f"The part {FIELD} has no file name, so it is text and no file; {ADVICE}.")
    return Upload(name=shown_name(name), data=found[0].data)
