"""Render, extract, PDF: the governed workloads."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.responses import Response

from tidegate.entrypoints.http.context import CallPart, ServicePart, response_of, until_gone
from tidegate.entrypoints.http.documentation import PDF_BODY, reply_example
from tidegate.entrypoints.http.large_json import PageRoute
from tidegate.entrypoints.http.models import ExtractBody, PdfBody, RenderBody
from tidegate.entrypoints.http.unreadable import UnsupportedMediaType, WrongFields
from tidegate.facades.extract import ExtractedPage
from tidegate.facades.render import Rendered
from tidegate.facades.workload import Reply
from tidegate.ports.browser import PageRequest, RenderFormat
from tidegate.ports.pdf_reader import PdfDocument

router = APIRouter(prefix="/v1", tags=["Workloads"])
pages = APIRouter(prefix="/v1", tags=["Workloads"], route_class=PageRoute)


@router.post("/render", responses=reply_example("render"))
async def render(
    body: RenderBody, call: CallPart, service: ServicePart, request: Request
) -> Response:
    """Render a page in a headless browser: HTML after its scripts ran, text, screenshot or PDF."""
    page = PageRequest(
        url=body.url,
        format=body.format,
        wait_until=body.wait_until,
        width_px=body.viewport.width,
        height_px=body.viewport.height,
    )
    work = service.governed.render(
        call, page, body.timeout_s, lambda page, s: _rendered(page, s, body.url, body.format)
    )
    return await until_gone(request, response_of(work))


@pages.post("/extract", responses=reply_example("extract"))
async def extract(
    body: ExtractBody, call: CallPart, service: ServicePart, request: Request
) -> Response:
    """Extract title, text, links and metadata of a page, by its address or sent along."""
    work = service.governed.extract(
        call,
        url=body.url,
        html=body.html,
        timeout_s=body.timeout_s,
        encode=_extracted,
    )
    return await until_gone(request, response_of(work))


@router.post("/pdf", responses=reply_example("pdf"), openapi_extra=PDF_BODY)
async def pdf(request: Request, call: CallPart, service: ServicePart) -> Response:
    """Read a PDF, uploaded as multipart field `file` or named by its `url`: text page by page."""
    url, data, timeout_s = await _pdf_input(request)
    work = service.governed.read_pdf(call, url=url, data=data, timeout_s=timeout_s, encode=_read)
    return await until_gone(request, response_of(work))


async def _pdf_input(request: Request) -> tuple[str | None, bytes | None, float | None]:
    """Return address, bytes and time limit from either kind of body."""
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type == "application/json":
        try:
            body = PdfBody.model_validate_json(await request.body())
        except ValidationError as error:
            raise WrongFields(error.errors()) from None
        return body.url, None, body.timeout_s
    if media_type != "multipart/form-data":
        raise UnsupportedMediaType("multipart/form-data or application/json")
    async with request.form(max_files=1, max_fields=2) as form:
        upload, seconds = form.get("file"), _seconds(form.get("timeout_s"))
        wrong = dict.fromkeys(sorted(set(form) - {"file", "timeout_s"}), "no field of an upload")
        if not isinstance(upload, UploadFile):
            wrong["file"] = "an uploaded file is wanted"
        if seconds is not None and not 0 < seconds < float("inf"):
            wrong["timeout_s"] = "must be a number of seconds > 0"
        if wrong:
            raise WrongFields.named(wrong)
        assert isinstance(upload, UploadFile)
        return None, await upload.read(), seconds


def _seconds(text: Any) -> float | None:
    """Return the number in a field of an upload; NaN if it is none."""
    try:
        return None if text is None else float(text)
    except (TypeError, ValueError):
        return float("nan")


def _rendered(page: Rendered, elapsed_s: float, url: str, page_format: RenderFormat) -> Reply:
    binary = page_format in ("screenshot", "pdf")
    content = base64.b64encode(page.content) if binary else page.content
    return _json(
        url=url,
        final_url=page.final_url,
        status=page.status,
        title=page.title,
        format=page_format,
        content=content.decode("utf-8", "replace"),
        elapsed_s=round(elapsed_s, 6),
        degraded=page.degraded,
        cached=False,
    )


def _extracted(page: ExtractedPage, elapsed_s: float) -> Reply:
    content = page.content
    return _json(
        url=page.final_url,
        status=page.status,
        title=content.title,
        text=content.text,
        links=[{"href": link.href, "text": link.text} for link in content.links],
        metadata=content.metadata,
        elapsed_s=round(elapsed_s, 6),
        cached=False,
    )


def _read(document: PdfDocument, elapsed_s: float) -> Reply:
    return _json(
        page_count=len(document.pages),
        metadata=document.metadata,
        pages=[{"number": n, "text": text} for n, text in enumerate(document.pages, start=1)],
        elapsed_s=round(elapsed_s, 6),
    )


def _json(**fields: Any) -> Reply:
    body = msgspec.json.encode(fields)
    return Reply(status=200, headers={"Content-Type": "application/json"}, body=body)
