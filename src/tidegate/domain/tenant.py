"""Who is governed, isolated and billed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from tidegate.errors import InvalidRequest

Status = Literal["active", "suspended"]
IsolationLevel = Literal["strong", "logical"]

TENANT_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def check_tenant_id(tenant_id: str) -> str:
    """Return the id, or say what ids look like.

    Raises:
        InvalidRequest: the id does not match `[a-z0-9][a-z0-9_-]{0,62}`.
    """
    if not TENANT_ID.fullmatch(tenant_id):
        raise InvalidRequest("id", tenant_id, TENANT_ID.pattern)
    return tenant_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The person or organisation behind a tenant."""

    id: str = ""
    name: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """One tenant as it is stored. `quotas` holds only what differs from the plan.

    `generation` starts at 1 and grows with every change; writers name the one they read.
    """

    id: str
    name: str
    plan: str
    owner: Owner = Owner()
    quotas: dict[str, int]
    status: Status = "active"
    suspended_reason: str = ""
    isolation_level: IsolationLevel = "strong"
    generation: int = 0
    created_us: int = 0
    updated_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A tenant's credential. Only the hash is kept; the key itself is shown once."""

    id: str
    tenant: str
    hash: bytes
    created_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who did what to which tenant. `detail` is JSON text without secrets."""

    at_us: int
    actor: str
    tenant: str
    action: str
    detail: str = "{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """Every tenant and key at one version of the store, so that readers need no I/O."""

    version: int
    tenants: dict[str, Tenant]
    keys: dict[bytes, ApiKey]
