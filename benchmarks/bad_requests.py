"""Requests to `/api/screen` that are wrong in one way or more: what a hostile or broken client sends.

`bad_request` draws one from a generator of random numbers alone. None may be answered but by a refusal (4xx): wherever
a form might still be read after the damage, what is in it is no picture.
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lentigo.errors import ImageError
from lentigo.imaging import read_image

BOUNDARY = "lentigo-boundary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
NO_PICTURE = b"this is text and no picture " * 40
Mutant = Callable[[np.random.Generator], tuple[str, bytes]]


@dataclass(frozen=True)
class BadRequest:
    """The bytes to send; `cut` where the client hangs up before the end, so that no answer is due."""

    name: str
    raw: bytes
    cut: bool = False


def bad_request(rng: np.random.Generator, mutant: Mutant) -> BadRequest:
    """One request; `mutant` draws damaged image files."""
    return KINDS[rng.integers(len(KINDS))](rng, mutant)


def raw_request(
    body: bytes,
    *,
    method: str = "POST",
    path: str = "/api/screen",
    kind: str | None = FORM,
    length: int | str | None = -1,
    more: str = "",
) -> bytes:
    """HTTP/1.1; a length of -1 is the true one."""
    length = len(body) if length == -1 else length
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}"
    head += f"Content-Type: {kind}\r\n" if kind is not None else ""
    head += f"Content-Length: {length}\r\n" if length is not None else ""
    return (head + "\r\n").encode("latin-1") + body


def form(data: bytes, *, disposition: str = 'form-data; name="image"; filename="mole.jpg"', part: str = "") -> bytes:
    """A multipart body of one part."""
    head = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n{part}\r\n".encode("latin-1")
    return head + data + f"\r\n--{BOUNDARY}--\r\n".encode()


def _damaged_picture(rng: np.random.Generator, mutant: Mutant) -> BadRequest:
    while True:
        name, data = mutant(rng)
        try:
            read_image(data)
        except ImageError:
            return BadRequest(f"damaged picture ({name})", raw_request(form(data)))


def _damaged_form(rng: np.random.Generator, _: Mutant) -> BadRequest:
    body = bytearray(form(NO_PICTURE))
    for place in rng.integers(len(body), size=rng.integers(1, 9)):
        body[place] = rng.integers(256)
    return BadRequest("damaged form", raw_request(bytes(body)))


def _short_form(rng: np.random.Generator, _: Mutant) -> BadRequest:
    body = form(NO_PICTURE)
    return BadRequest("form that ends early", raw_request(body[: rng.integers(len(body))]))


def _odd_part(rng: np.random.Generator, _: Mutant) -> BadRequest:
    choice = rng.integers(9)
    name = 'form-data; name="image"'
    disposition = (
        "form-data",
        name,
        'form-data; name="picture"; filename="a.jpg"',
        f'{name}; filename="{"a" * 5000}"',
        f'{name}; filename="../../../etc/passwd"',
        f"{name}; filename*=UTF-8''%ff%fe",
        f'{name}; filename="\x80\xff"',
        f'form-data; name="{"n" * 3000}"; filename="a"',
        'attachment; name=image; filename="a{b}c%s"',
    )[choice]
    return BadRequest("odd part", raw_request(form(NO_PICTURE, disposition=disposition)))


def _many_parts(rng: np.random.Generator, _: Mutant) -> BadRequest:
    one = form(NO_PICTURE).removesuffix(b"--\r\n") + b"\r\n"
    return BadRequest("many parts", raw_request(one * int(rng.integers(2, 40)) + f"--{BOUNDARY}--\r\n".encode()))


def _long_part_header(rng: np.random.Generator, _: Mutant) -> BadRequest:
    part = f"X-Long: {'x' * int(rng.integers(1, 200_000))}\r\n" * int(rng.integers(1, 4))
    return BadRequest("long header in a part", raw_request(form(NO_PICTURE, part=part)))


def _other_type(rng: np.random.Generator, _: Mutant) -> BadRequest:
    kinds = (
        None,
        "",
        "application/json",
        "application/x-www-form-urlencoded",
        "image/jpeg",
        "multipart/mixed; boundary=x",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "b" * 5000,
        'multipart/form-data; boundary="a\x80b"',
        f"{FORM}; charset=no-such-charset",
        f"{FORM}; charset=utf-16",
    )
    return BadRequest("other content type", raw_request(form(NO_PICTURE), kind=kinds[rng.integers(len(kinds))]))


def _odd_query(rng: np.random.Generator, _: Mutant) -> BadRequest:
    queries = ("heatmap=gif", "heatmap=", "insist=perhaps", "insist=%00", "heatmap=png&heatmap=jpg", "insist=%ff%fe")
    path = f"/api/screen?{queries[rng.integers(len(queries))]}"
    return BadRequest("odd query", raw_request(form(NO_PICTURE), path=path))


def _other_place(rng: np.random.Generator, _: Mutant) -> BadRequest:
    places = (
        "/api/screen/",
        "/model/../pyproject.toml",
        "/..%2f..%2f..%2fetc/passwd",
        "/model/%2e%2e/model.onnx",
        "/assets/../../server.py",
        "/api/screen%00",
        "//etc/passwd",
        "/%ff%fe",
    )
    method = ("POST", "GET", "PUT", "DELETE", "PATCH", "BREW")[rng.integers(6)]
    return BadRequest("other place", raw_request(b"", method=method, path=places[rng.integers(len(places))], kind=None))


def _other_method(rng: np.random.Generator, _: Mutant) -> BadRequest:
    method = ("GET", "PUT", "DELETE", "PATCH", "BREW", "OPTIONS")[rng.integers(6)]
    return BadRequest("other method", raw_request(form(NO_PICTURE), method=method))


def _wrong_length(rng: np.random.Generator, _: Mutant) -> BadRequest:
    body = form(NO_PICTURE)
    lengths = (len(body) // 2, 0, "-5", "12abc", "99999999999999999999999", "1, 2", "0x10")
    length = lengths[rng.integers(len(lengths))]
    expect = "Expect: 100-continue\r\n" if str(length).startswith("9") else ""  # else it waits for the rest
    return BadRequest("wrong length", raw_request(body, length=length, more=expect))


def _hangs_up(rng: np.random.Generator, _: Mutant) -> BadRequest:
    raw = raw_request(form(NO_PICTURE), length=int(rng.integers(5_000, 19_000_000)))
    return BadRequest("hangs up", raw[: rng.integers(1, len(raw))], cut=True)


def _damaged_chunks(rng: np.random.Generator, _: Mutant) -> BadRequest:
    ends = (b"zz\r\n", b"-4\r\nabcd\r\n", b"ffffffffffffffffff\r\n", b"5\r\nabc\r\n0\r\n\r\n", b"0\r\n\r\n")
    body = b"%x\r\n%s\r\n" % (len(NO_PICTURE), NO_PICTURE) + ends[rng.integers(len(ends))]
    raw = raw_request(body, length=None, more="Transfer-Encoding: chunked\r\n")
    return BadRequest("damaged chunks", raw, cut=True)


def _damaged_head(rng: np.random.Generator, _: Mutant) -> BadRequest:
    raw = bytearray(raw_request(form(NO_PICTURE)))
    head = raw.index(b"\r\n\r\n")
    for place in rng.integers(head, size=rng.integers(1, 6)):
        raw[place] = rng.integers(256)
    return BadRequest("damaged head", bytes(raw), cut=True)  # which may ask for another version, or never end


def _long_head(rng: np.random.Generator, _: Mutant) -> BadRequest:
    more = f"X-Long: {'x' * int(rng.integers(70_000, 300_000))}\r\n"
    return BadRequest("long head", raw_request(form(NO_PICTURE), more=more), cut=True)


def _odd_header(rng: np.random.Generator, _: Mutant) -> BadRequest:
    """A header that a server may trip over, before a form without a picture."""
    odd = (
        "Origin: http://[", "Origin: http://[evil]/", "Origin: null", "Origin: \xff", "Sec-Fetch-Site: cross-site",
        "Host: evil.example", "Range: bytes=9-1", "Content-Encoding: gzip", "Accept-Encoding: ;q=x", 'If-None-Match: "',
    )  # fmt: skip
    return BadRequest("odd header", raw_request(form(NO_PICTURE), more=odd[rng.integers(len(odd))] + "\r\n"))


KINDS: tuple[Callable[[np.random.Generator, Mutant], BadRequest], ...] = (
    *[_damaged_picture] * 6,
    *[_damaged_form] * 2,
    *[_short_form] * 2,
    *[_odd_part] * 2,
    _many_parts,
    _long_part_header,
    *[_other_type] * 2,
    _odd_query,
    _other_place,
    _other_method,
    _wrong_length,
    _hangs_up,
    _damaged_chunks,
    _damaged_head,
    _long_head,
    _odd_header,
)


def status_of(port: int, bad: BadRequest, *, answer_limit_s: float = 20.0) -> int:
    """What a server on this machine answers over a connection of its own; 0 where that ended without an answer.

    Raises: TimeoutError: no answer within the limit.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=answer_limit_s) as connection:
        answer = b""
        try:
            connection.sendall(bad.raw)
            if bad.cut:
                connection.shutdown(socket.SHUT_WR)
            while b"\r\n" not in answer and (more := connection.recv(65536)):
                answer += more
        except TimeoutError:
            raise
        except OSError:  # it hung up while we sent
            return 0
    return int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 0
