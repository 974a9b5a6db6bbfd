"""`lentigo serve`: the page, the model for it, and an API that screens one picture at a time. Needs the extra `web`.

In: the path of a model.onnx. Out: a FastAPI app (`create_app`), and what runs it until it is told to stop (`serve`).

What a client can do is bounded: its body (guard.py), the pixels (imaging.py), the time and the number of pictures that
are worked on or wait (workers.py). Nothing is stored unless `keep` names a folder. No client names a model or a path.
"""

import asyncio
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response

from lentigo import __version__
from lentigo.deploy import NOTICE
from lentigo.deploy.answering import load_screener, make_answer
from lentigo.deploy.answers import ErrorAnswer, HealthAnswer, ScreeningAnswer, install_errors
from lentigo.deploy.api_page import STYLE, api_page
from lentigo.deploy.assets import Asset, file_answer, page_assets
from lentigo.deploy.guard import HELD_BODIES, SECURITY_HEADERS, Guard, Held, Limits
from lentigo.deploy.model_file import model_path
from lentigo.deploy.serving import serve
from lentigo.deploy.uploads import FIELD, Upload, read_upload
from lentigo.deploy.workers import Pool, QueueFullError, TimeLimitError, WorkerError
from lentigo.errors import ConfigError, DataError
from lentigo.files import sha256_of, write_bytes, write_json
from lentigo.machine import cores

__all__ = ["MAX_BODY_BYTES", "create_app", "serve"]

PAGE = Path(__file__).parent / "web"  # built by `make web`
MAX_BODY_BYTES = 20_000_000
BODY_LIMIT_S = 60.0
LIMIT_S = 10.0  # the slowest whole file of 50 megapixels took 2 s to decode, see RESULTS.md
QUEUE = 16
RETRY_S = 1  # of Retry-After
KEEP_FREE_BYTES = 500_000_000  # of the disk that pictures are kept on: the machine needs room for itself
DEMO_HEADER = "X-Lentigo-Demo"

_LOG = logging.getLogger(__name__)
router = APIRouter()


@dataclass(frozen=True)
class ModelFile:
    """The file of the model as it was at the start."""

    path: Path
    stamp: tuple[int, ...]
    sha256: str

    @classmethod
    def of(cls, model: Path) -> "ModelFile":
        """Raises: LentigoError: there is none, or it cannot be read."""
        path = model_path(model)
        return cls(path, _stamp(path), sha256_of(path))  # the stamp first: an exchange from here on is noticed

    def changed(self) -> bool:
        """Whether somebody has exchanged it: what is known of it would be another's."""
        return _stamp(self.path) != self.stamp


@dataclass(frozen=True)
class Service:
    """What the routes need."""

    about: dict[str, Any]  # the model's metadata
    model: ModelFile | None
    model_json: dict[str, Any]  # the same and the file's size and hash; the page reads it
    pool: Pool
    keep: Path | None

    @property
    def demo(self) -> bool:
        return bool(self.about.get("demo"))


def create_app(
    model: Path | None,
    *,
    keep: Path | None = None,
    allow_hosts: Iterable[str] = (),
    workers: int | None = None,
    queue: int = QUEUE,
    limit_s: float = LIMIT_S,
    body_limit_s: float = BODY_LIMIT_S,
    page: Path = PAGE,
    screener: Callable[[], Any] | None = None,
    debug: bool = False,
) -> FastAPI:
    """The server as an ASGI app.

    Args:
        model: a model.onnx that `lentigo export` wrote, or its folder.
        keep: a folder for every picture that was screened and its result; None stores nothing.
        allow_hosts: names under which the server may be asked, beside addresses and localhost; for a server behind a
            proxy, or one that has a name in a network.
        workers: processes that screen; default one a CPU.
        queue: pictures that may wait while all processes work; one more is refused.
        limit_s: seconds that a picture may wait, and that it may then take.
        body_limit_s: seconds that an upload may take.
        page: folder of the built page.
        screener: makes what screens, in each process anew; default the Screener of `model`.
        debug: let the processes say what they like on standard error. Decoders do, and a traceback may name a picture.
    Raises:
        ConfigError: an option is not allowed, or `keep` cannot be written to.
        LentigoError: the model is missing or damaged.
    """
    names = _host_names(allow_hosts)
    service = _service(model, keep, workers=workers, queue=queue, limit_s=limit_s, screener=screener, debug=debug)
    headers = SECURITY_HEADERS | ({DEMO_HEADER: "true"} if service.demo else {})
    app = FastAPI(
        title="lentigo",
        version=__version__,
        description=f"Screens pictures of moles. {NOTICE} No result replaces a doctor: see one when in doubt.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    app.state.service = service
    limits = Limits(MAX_BODY_BYTES, body_limit_s, Held(HELD_BODIES * MAX_BODY_BYTES))
    refusal = install_errors(app, headers, demo=service.demo)
    app.add_middleware(Guard, limits=limits, headers=headers, names=names, refusal=refusal)
    app.include_router(router)
    metadata = Asset(json.dumps(service.model_json, ensure_ascii=False).encode(), ".json")
    for path, asset in (page_assets(page) | {"/model/model.json": metadata}).items():
        app.add_route(path, asset.answer, methods=["GET"])
    return app


def _service(
    model: Path | None,
    keep: Path | None,
    *,
    workers: int | None,
    queue: int,
    limit_s: float,
    screener: Callable[[], Any] | None,
    debug: bool,
) -> Service:
    workers = cores() if workers is None else workers
    for name, value, least in (("workers", workers, 1), ("queue", queue, 0), ("limit_s", limit_s, 0.001)):
        if value < least:
            raise ConfigError(f"{name} is {value}; give {least} or more")
    file = None if model is None else ModelFile.of(model)
    if screener is None:
        if file is None:
            raise ConfigError("no model was given; give the path of a model.onnx that `lentigo export` wrote")
        screener = partial(load_screener, file.path, file.sha256)
    if keep is not None:
        _check_keep(keep)
    about = dict(screener().about.content)  # made here too, so that a bad model is told now
    onnx = {"file": "model.onnx", "bytes": file.path.stat().st_size, "sha256": file.sha256} if file else None
    pool = Pool(partial(make_answer, screener), workers=workers, queue=queue, limit_s=limit_s, quiet=not debug)
    return Service(about, file, {**about, "onnx": onnx}, pool, keep)


def _stamp(model: Path) -> tuple[int, ...]:
    try:
        found = model.stat()
    except OSError:
        return ()
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def _host_names(allowed: Iterable[str]) -> frozenset[str]:
    names = frozenset(name.lower().removesuffix(".") for name in allowed)
    for name in names:
        if not re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", name):
            raise ConfigError(
                f"--allow-host is {name!r}, which is no host name; give the name alone, like screening.example.org, "
                "and other letters than a to z as browsers send them (xn--...)"
            )
    return names


def _check_keep(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # pictures of people
    except OSError as error:
        raise ConfigError(f"keep is {folder}, which cannot be made ({error}); give a folder to write to") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"keep is {folder}, which cannot be written to; give another folder")


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    pool = app.state.service.pool
    await asyncio.to_thread(pool.start)
    try:
        yield
    finally:
        await asyncio.to_thread(pool.stop)


# ---------------------------------------------------------------- routes

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "The form cannot be read."},
    403: {"model": ErrorAnswer, "description": "Another site's page sent the request."},
    408: {"model": ErrorAnswer, "description": "The upload took too long."},
    413: {"model": ErrorAnswer, "description": "The request is larger than 20 MB."},
    415: {"model": ErrorAnswer, "description": "The body is not multipart/form-data."},
    421: {"model": ErrorAnswer, "description": "The request names another server."},
    422: {"model": ErrorAnswer, "description": "The picture cannot be read, is absent, or a parameter is not allowed."},
    429: {"model": ErrorAnswer, "description": "All processes are busy and the queue is full; see Retry-After."},
    503: {"model": ErrorAnswer, "description": "The picture took too long, or its process ended."},
}
_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [FIELD],
                "properties": {
                    FIELD: {
                        "type": "string",
                        "format": "binary",
                        "description": "A JPEG, PNG, WebP, BMP or TIFF of at most 50 megapixels.",
                    }
                },
            },
            "encoding": {FIELD: {"contentType": "image/jpeg, image/png, image/webp, image/bmp, image/tiff"}},
        }
    },
}
_EXAMPLE = "curl -F image=@mole.jpg 'http://127.0.0.1:8000/api/screen?heatmap=png'"


@router.post(
    "/api/screen",
    responses={200: {"model": ScreeningAnswer, "description": "The picture was looked at."}, **_ERRORS},
    openapi_extra={"requestBody": _BODY, "x-example": _EXAMPLE},
)
async def screen_picture(
    request: Request,
    heatmap: Annotated[Literal["png"] | None, Query(description="Adds the picture under its heat map.")] = None,
    insist: Annotated[bool, Query(description="A result also for a picture that is refused.")] = False,
) -> JSONResponse:
    """Screen one picture. Its name comes back; what a camera wrote into the file (place, time) is never read."""
    _check_sender(request)
    service: Service = request.app.state.service
    if service.pool.full:  # before the body is read
        raise _busy("The queue is full; try again in a moment.")
    upload = await read_upload(request)
    job = {"name": upload.name, "insist": insist, "heatmap": heatmap is not None, "keep": service.keep is not None}
    try:
        reply, picture = await service.pool.run(job, upload.data)
    except QueueFullError as error:
        raise _busy(str(error)) from error
    except (TimeLimitError, WorkerError) as error:
        raise HTTPException(503, str(error)) from error
    if "error" in reply:
        raise HTTPException(reply["status"], reply["error"])
    body = {**reply["body"], "demo": service.demo, "notice": NOTICE, "kept": service.keep is not None}
    if service.keep is not None:
        await asyncio.to_thread(_keep, service.keep, upload, body, picture)
    return JSONResponse(body)


@router.get("/api/model")
async def about_model(request: Request) -> dict[str, Any]:
    """The model's card, preprocessing, thresholds, validation and where it comes from."""
    service: Service = request.app.state.service
    return {**service.about, "demo": service.demo, "notice": NOTICE}


@router.get("/healthz")
async def health(request: Request) -> HealthAnswer:
    """Whether the server works, with which model, and whether it stores pictures."""
    service: Service = request.app.state.service
    name = str(service.about.get("name", ""))
    return HealthAnswer(status="ok", model=name, demo=service.demo, keeps=service.keep is not None)


@router.get("/api/docs", include_in_schema=False)
async def documentation(request: Request) -> HTMLResponse:
    """This API in words."""
    return HTMLResponse(api_page(request.app.openapi()))


@router.get("/api/docs.css", include_in_schema=False)
async def documentation_style() -> PlainTextResponse:
    """What makes it look well."""
    return PlainTextResponse(STYLE, media_type="text/css")


@router.api_route("/model/model.onnx", methods=["GET", "HEAD"], include_in_schema=False)
async def model_onnx(request: Request) -> Response:
    """The model for the page."""
    service: Service = request.app.state.service
    if service.model is None:
        raise HTTPException(404, "This server has no model file.")
    if await asyncio.to_thread(service.model.changed):
        _LOG.error("%s is not the file it was when the server started; start the server again", service.model.path)
        raise HTTPException(503, "The model is being changed; try again when the server has started again.")
    return file_answer(request, service.model.path, service.model.sha256)


def _check_sender(request: Request) -> None:
    """A page of another site may not have a visitor's browser send pictures here; browsers say whose page it is."""
    site = request.headers.get("sec-fetch-site", "none")
    origin = request.headers.get("origin")
    host = request.headers.get("host", "")
    foreign = origin is not None and origin not in (f"http://{host}", f"https://{host}")
    if foreign or site not in ("none", "same-origin"):
        raise HTTPException(403, "Another site's page sent this request; send it from a program or from this page.")


def _busy(sentence: str) -> HTTPException:
    return HTTPException(429, sentence, headers={"Retry-After": str(RETRY_S)})


def _keep(folder: Path, upload: Upload, body: dict[str, Any], picture: bytes) -> None:
    """Store a picture and its result, named by time and by what was received; the client's file name is left out."""
    sha256 = hashlib.sha256(upload.data).hexdigest()
    now = datetime.now(UTC)
    stem = f"{now:%Y%m%dT%H%M%S.%f}Z-{sha256[:16]}"
    content = {key: value for key, value in body.items() if key != "heatmap"}
    content |= {"image": f"{stem}.png", "received": now.isoformat(), "received_sha256": sha256}
    try:
        if shutil.disk_usage(folder).free < KEEP_FREE_BYTES + len(picture):
            raise DataError(f"{folder} has less than {KEEP_FREE_BYTES / 1e6:.0f} MB of free space")
        write_bytes(folder / f"{stem}.png", picture, private=True)
        write_json(folder / f"{stem}.json", content, private=True)
    except (DataError, OSError) as error:
        _LOG.error("a picture cannot be kept: %s", error)
        raise HTTPException(503, "The picture cannot be stored, as this server should; tell its owner.") from error
