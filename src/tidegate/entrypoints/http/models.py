"""Bodies as they come in: strict, every field bounded, unknown fields refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from tidegate.domain.target import URL_LENGTH_MAX

ENTRIES_MAX = 32
"""Most fields of a body, and most entries of a map in it."""


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must not hold half a surrogate pair") from None
    return value


def _few(value: Any) -> Any:
    """Refuse many entries before each is looked at: to report a million of them takes seconds."""
    if isinstance(value, dict) and len(value) > ENTRIES_MAX:
        raise ValueError(f"must have at most {ENTRIES_MAX} entries")
    return value


Text = Annotated[str, AfterValidator(_text)]
Url = Annotated[Text, Field(min_length=1, max_length=URL_LENGTH_MAX)]
Name = Annotated[Text, Field(min_length=1, max_length=200)]
Amounts = Annotated[
    dict[Name, Annotated[int, Field(ge=1, le=2**53)]],
    BeforeValidator(_few),
    Field(default_factory=dict, max_length=ENTRIES_MAX),
]
LeaseS = Annotated[float | None, Field(default=None, gt=0, le=86_400)]
"""Seconds; left out, the usual length or what the plan allows if that is less."""
TimeoutS = Annotated[float | None, Field(default=None, gt=0)]


class Body(BaseModel):
    """What every body keeps to."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, value: Any) -> Any:
        return _few(value)


def example(**fields: Any) -> ConfigDict:
    """Return the configuration of a body with an example for the documentation."""
    return ConfigDict(**Body.model_config, json_schema_extra={"examples": [fields]})


class Viewport(Body):
    """Size of the browser window in pixels."""

    width: Annotated[int, Field(ge=16, le=4096)] = 1280
    height: Annotated[int, Field(ge=16, le=4096)] = 720


class RenderBody(Body):
    """A page to render."""

    model_config = example(url="https://example.com/", format="text", wait_until="load")

    url: Url
    format: Literal["html", "text", "screenshot", "pdf"] = "html"
    wait_until: Literal["load", "domcontentloaded", "networkidle", "commit"] = "load"
    timeout_s: TimeoutS
    viewport: Viewport = Viewport()


class ExtractBody(Body):
    """A page to extract: by its address, or sent along."""

    model_config = example(url="https://example.com/")

    url: Url | None = None
    html: Text | None = None
    timeout_s: TimeoutS


class PdfBody(Body):
    """A PDF to read, by its address."""

    model_config = example(url="https://example.com/report.pdf")

    url: Url
    timeout_s: TimeoutS


class ClaimBody(Body):
    """What one piece of work needs, all or nothing.

    `priority` is 500 and `lease_s` 60 unless given, or what the plan allows if that is less.
    """

    model_config = example(hold={"gpu_slots": 1}, lease_s=60, timeout_s=5, id="job-1")

    take: Amounts
    hold: Amounts
    host: Name | None = None
    user: Name | None = None
    route: Name | None = None
    attributes: Annotated[
        dict[Name, Name],
        BeforeValidator(_few),
        Field(default_factory=dict, max_length=ENTRIES_MAX),
    ]
    priority: Annotated[int | None, Field(default=None, ge=0, le=1000)]
    timeout_s: Annotated[float, Field(ge=0, le=60)] = 0.0
    lease_s: LeaseS
    id: Name | None = None


class RenewBody(Body):
    """How long a lease shall last from now on."""

    model_config = example(lease_s=60)

    lease_s: LeaseS


class SettleBody(Body):
    """What was really used, by resource; what is left out keeps its estimate."""

    model_config = example(actual={"llm_tokens": 812})

    actual: Annotated[
        dict[Name, Annotated[int, Field(ge=0, le=2**53)]],
        BeforeValidator(_few),
        Field(min_length=1, max_length=ENTRIES_MAX),
    ]


class LevelBody(Body):
    """Where a limit is corrected: what the limit is `per`; no tenant where it is not per tenant."""

    model_config = example(tenant="acme", host="example.com")

    tenant: Name | None = None
    host: Name | None = None
    user: Name | None = None
    route: Name | None = None
    attributes: Annotated[
        dict[Name, Name],
        BeforeValidator(_few),
        Field(default_factory=dict, max_length=ENTRIES_MAX),
    ]


class UsedBody(LevelBody):
    """Where a limit is corrected, and what shall count as used there."""

    model_config = example(tenant="acme", units=250)

    units: Annotated[int, Field(ge=0, le=2**53)]


class OwnerBody(Body):
    """The person or organisation behind a tenant."""

    id: Annotated[Text, Field(max_length=200)] = ""
    name: Annotated[Text, Field(max_length=200)] = ""
    email: Annotated[Text, Field(max_length=320)] = ""


Quotas = Annotated[
    dict[Name, Annotated[int, Field(ge=0, le=2**53)]],
    BeforeValidator(_few),
    Field(max_length=ENTRIES_MAX),
]


class TenantBody(Body):
    """A tenant to create. Without an id one is made from the name."""

    model_config = example(
        name="Acme",
        plan="basic",
        owner={"name": "Ann", "email": "ann@acme.example"},
        quotas={"operations_per_minute": 500},
    )

    name: Name
    plan: Name = "free"
    owner: OwnerBody = OwnerBody()
    quotas: Annotated[Quotas, Field(default_factory=dict)]
    id: Name | None = None


class TenantChange(Body):
    """What to change of a tenant; what is left out stays. `generation` guards against others."""

    model_config = example(plan="professional", generation=1)

    name: Name | None = None
    plan: Name | None = None
    owner: OwnerBody | None = None
    quotas: Quotas | None = None
    generation: Annotated[int | None, Field(default=None, ge=1)]


class SuspendBody(Body):
    """Why a tenant is suspended."""

    model_config = example(reason="unpaid")

    reason: Annotated[Text, Field(max_length=500)] = ""
