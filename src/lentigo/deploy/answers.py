"""What the server says: the shape of its answers, and every error as JSON with one sentence."""

from collections.abc import Callable
from typing import Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from lentigo.deploy import NOTICE
from lentigo.deploy.guard import add_headers


class FindingAnswer(BaseModel):
    """One thing that was found in a picture, and what to do about it."""

    name: str
    severity: Literal["refuse", "warn"]
    text: str
    advice: str


class ScreeningAnswer(BaseModel):
    """What the model makes of one picture. No band says that a mole is harmless: see a doctor when in doubt."""

    image: str = Field(description="The file's name.")
    band: Literal["low", "unclear", "high", "refused"]
    probability: float | None = Field(description="Of malignant, in [0, 1]; null where the picture was refused.")
    logit: float | None
    calibrated: bool | None = Field(
        default=None, description="Whether the probability was fitted on validation images."
    )
    band_reason: str | None = Field(default=None, description="What speaks against the bands; empty without.")
    outlier: float | None = Field(description="How unlike the training images the picture is; 0 or more.")
    findings: list[FindingAnswer]
    model: str = Field(description="Which model answered.")
    demo: bool = Field(description="Whether the model was trained on drawn lesions and knows nothing of skin.")
    notice: str
    kept: bool = Field(description="Whether the server stored the picture, since its owner asked it to.")
    heatmap: str | None = Field(
        default=None, description="Data URL of a PNG, with ?heatmap=png; null where there is none."
    )


class HealthAnswer(BaseModel):
    """Whether the server works."""

    status: Literal["ok"]
    model: str
    demo: bool
    keeps: bool = Field(description="Whether pictures that are sent to it are stored.")


class ErrorAnswer(BaseModel):
    """Why a request was refused."""

    error: str = Field(description="One sentence: what was found, and what to do.")
    notice: str
    demo: bool | None = None


def install_errors(app: FastAPI, headers: dict[str, str], *, demo: bool) -> Callable[[int, str], Response]:
    """Make every error of the app JSON: {"error": one sentence, "notice": ...}, and "demo" where the model is one.

    Returns: what makes such an answer of a status and a sentence.
    """

    def answer(status: int, sentence: str, more: dict[str, str] | None = None) -> Response:
        content = {"error": sentence, "notice": NOTICE} | ({"demo": True} if demo else {})
        return JSONResponse(content, status, headers=more)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        more = dict(error.headers or {})
        return answer(error.status_code, _sentence(request.method, error, more), more)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where, found = ".".join(map(str, first["loc"][1:])), repr(first.get("input"))[:60]
        wrong = first["msg"][0].lower() + first["msg"][1:]
        return answer(422, f"The parameter {where} is {found}, but {wrong}; see /api/docs.")

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        return answer(400, "The request ended before its body was complete.")

    @app.exception_handler(Exception)
    async def failed(request: Request, _: Exception) -> Response:
        response = answer(500, "The server failed on this request; its log says why.")
        add_headers(MutableHeaders(raw=response.raw_headers), headers, request.url.path)  # stands outside the guard
        return response

    return answer


def _sentence(method: str, error: HTTPException, more: dict[str, str]) -> str:
    if error.detail == "Not Found":  # Starlette's own two
        return "Nothing is at this address; /api/docs lists what there is."
    if error.detail == "Method Not Allowed":
        return f"{method} is not possible at this address, only {more.get('Allow', 'others')}."
    return error.detail
