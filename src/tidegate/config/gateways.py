"""Settings of the faces for gateways: what a check costs, and who may ask over which wire."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Units = Annotated[int, Meta(ge=1)]
Amounts = dict[Annotated[str, Meta(min_length=1)], Units]
LeaseSeconds = Annotated[float, Meta(gt=0, le=86_400)]
Listen = Annotated[str, Meta(pattern=r"^$|^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$")]
"""`host:port`, an IPv6 address in brackets; empty does not listen."""

HeaderName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]*$")]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One group of settings. A name that is none of its fields is an error."""


class CheckRuleSettings(_Section, frozen=True):
    """What one kind of request costs. It applies where all of `methods`, `host`, `path` match."""

    methods: tuple[str, ...] = ()
    host: str = ""
    path: Annotated[str, Meta(pattern=r"^/")] = "/"
    route: str = ""
    take: Amounts = {}
    hold: Amounts = {}
    lease_s: LeaseSeconds = 30.0


class CheckHeaders(_Section, frozen=True):
    """Where a gateway says what it asks about; an empty name reads no header.

    A gateway has to set each of them itself: what a client sent under these names must not pass.
    """

    tenant: Annotated[HeaderName, Meta(min_length=1)] = "X-Tenant-ID"
    method: HeaderName = "X-Forwarded-Method"
    uri: HeaderName = "X-Forwarded-Uri"
    host: HeaderName = "X-Forwarded-Host"
    user: HeaderName = ""
    id: HeaderName = ""


class CheckSettings(_Section, frozen=True):
    """Checks: the first rule that matches says what is claimed, `take` where none does."""

    take: Amounts = msgspec.field(default_factory=lambda: {"requests": 1})
    rules: tuple[CheckRuleSettings, ...] = ()
    headers: CheckHeaders = CheckHeaders()
    attributes: dict[str, Annotated[HeaderName, Meta(min_length=1)]] = {}


class EnvoyRuleSettings(_Section, frozen=True):
    """What a descriptor costs that has all these entries; an empty value matches any."""

    entries: dict[str, str]
    take: Amounts


class EnvoyKeys(_Section, frozen=True):
    """The keys of descriptor entries with a meaning of their own; others become attributes."""

    tenant: str = "tenant"
    host: str = "host"
    user: str = "user"
    route: str = "route"
    settle: str = "settle"


class EnvoySettings(_Section, frozen=True):
    """The rate limit service of Envoy, over gRPC."""

    listen: Listen = ""
    domain: Annotated[str, Meta(min_length=1)] = "tidegate"
    key_required: bool = True
    keys: EnvoyKeys = EnvoyKeys()
    rules: tuple[EnvoyRuleSettings, ...] = ()


class HaproxySettings(_Section, frozen=True):
    """The agent that HAProxy asks over SPOP."""

    listen: Listen = ""
    key_required: bool = True
