"""Every error tidegate raises on purpose, in one tree with stable codes.

TidegateError
├── InvalidRequest           what the caller asked for is wrong; retrying is useless
│   ├── InvalidLimit         a number no admin or caller may ask for
│   ├── InvalidClaim         a claim that no limit can judge
│   ├── InvalidSetting       a setting that stops the start
│   ├── InvalidUrl           not an absolute http or https URL
│   ├── TenantRequired       an admin key under /v1 has to say for which tenant it acts
│   ├── ClaimIdReused        a claim id came back with another claim
│   └── IdempotencyKeyReused an Idempotency-Key came back with another request
├── AccessRefused
│   ├── Unauthenticated      no key was shown, or one that nobody has
│   └── Forbidden            the key is good, but not for this
├── NotFound
│   ├── TenantUnknown
│   └── LeaseUnknown
├── Conflict
│   ├── TenantExists
│   ├── GenerationConflict   somebody else changed the tenant first
│   └── LeaseLost            the lease expired or was reclaimed; stop the work
├── WouldBlock               no answer without asking a store over the network
├── AdmissionDenied          a claim was refused; carries the `Denied` value
│   └── RateLimitExceeded    the same of a tenant, in the words of `compat.riptide`
├── WorkFailed               admitted work that did not succeed
│   ├── WorkTimeout          the work outlived its cap
│   ├── WorkerCrashed        the process that did the work died
│   ├── EgressRefused        an address that tenants may not reach
│   ├── UpstreamFailed       the remote server could not be reached or spoke nonsense
│   ├── UpstreamRejected     the remote answer is not one we read: status, type, size, encoding
│   └── DocumentUnreadable   the document itself is broken
└── Unavailable              a part of the service cannot be had now; a retry may help
    ├── StoreUnavailable
    ├── BrowserUnavailable
    └── ExtraMissing         an optional dependency is not installed
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from tidegate.domain.decision import Denied


class TidegateError(Exception):
    """Base of every error tidegate raises on purpose. `code` never changes once released."""

    code: ClassVar[str] = "tidegate_error"


class InvalidRequest(TidegateError):
    """What was asked for is wrong. Fix the request; retrying is useless."""

    code = "invalid_request"

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(f"{field}={value!r}, allowed {allowed}")
        self.field, self.value, self.allowed = field, value, allowed


class InvalidLimit(InvalidRequest):
    """A number no admin or caller may ask for."""

    code = "invalid_limit"


class InvalidClaim(InvalidRequest):
    """A claim that names an unknown resource, a wrong amount or lacks what a limit needs."""

    code = "invalid_claim"


class InvalidSetting(InvalidRequest):
    """A setting that is unknown or out of range. The service does not start with it."""

    code = "invalid_setting"

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(field, value, allowed)
        self.args = (f"setting {field}: got {value!r}, expected {allowed}",)


class InvalidUrl(InvalidRequest):
    """Not an absolute http or https URL with a host."""

    code = "invalid_url"


class TenantRequired(InvalidRequest):
    """An admin key has to say for which tenant it acts."""

    code = "tenant_required"

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(field, value, allowed)
        self.args = ("an admin key has to say for which tenant it acts: X-Tenant-ID: <tenant>",)


class ClaimIdReused(InvalidRequest):
    """A claim id that was granted came back with another claim."""

    code = "claim_id_reused"


class IdempotencyKeyReused(InvalidRequest):
    """An Idempotency-Key that was used came back with another request."""

    code = "idempotency_key_reused"


class AccessRefused(TidegateError):
    """The caller may not do this."""

    code = "access_refused"


class Unauthenticated(AccessRefused):
    """No key was shown, or one that nobody has."""

    code = "unauthenticated"


class Forbidden(AccessRefused):
    """The key is good, but not for this."""

    code = "forbidden"


class NotFound(TidegateError):
    """There is no such thing, or it belongs to somebody else."""

    code = "not_found"

    thing: ClassVar[str] = "key"

    def __init__(self, identifier: str, thing: str = "") -> None:
        super().__init__(f"there is no {thing or self.thing} {identifier!r}")
        self.identifier = identifier


class TenantUnknown(NotFound):
    """No tenant has this id."""

    code = "tenant_unknown"
    thing = "tenant"


class LeaseUnknown(NotFound):
    """No live lease of this tenant has this id."""

    code = "lease_unknown"
    thing = "live lease"


class Conflict(TidegateError):
    """The state is not the one the request was made for."""

    code = "conflict"


class TenantExists(Conflict):
    """The tenant id is taken."""

    code = "tenant_exists"

    def __init__(self, tenant: str) -> None:
        super().__init__(f"tenant {tenant!r} exists already")
        self.tenant = tenant


class GenerationConflict(Conflict):
    """Somebody else changed the tenant first. Read it again, then retry."""

    code = "generation_conflict"

    def __init__(self, tenant: str, expected: int, found: int) -> None:
        super().__init__(f"tenant {tenant!r} is at generation {found}, expected {expected}")
        self.tenant, self.expected, self.found = tenant, expected, found


class LeaseLost(Conflict):
    """The lease expired or was reclaimed; its units may belong to others. Stop the work."""

    code = "lease_lost"

    def __init__(self, lease_id: str) -> None:
        super().__init__(f"lease {lease_id!r} is no longer held")
        self.lease_id = lease_id


class WouldBlock(TidegateError):
    """A call that must not wait was asked for what only a store over the network knows.

    Use the call's waiting form.
    """

    code = "would_block"


class AdmissionDenied(TidegateError):
    """A claim was refused. `denied` says by which limit, at which scope, and for how long."""

    code = "admission_denied"

    def __init__(self, denied: Denied) -> None:
        super().__init__(denied.describe())
        self.denied = denied


class RateLimitExceeded(AdmissionDenied):
    """A tenant was refused by a rate limiter of `compat.riptide`; told as RipTide told it."""

    code = "rate_limit_exceeded"

    def __init__(self, tenant_id: str, denied: Denied) -> None:
        super().__init__(denied)
        self.args = (f"Rate limit exceeded for tenant: {tenant_id}",)
        self.tenant_id = tenant_id


class WorkFailed(TidegateError):
    """Admitted work that did not succeed."""

    code = "work_failed"


class WorkTimeout(WorkFailed):
    """The work outlived its cap and was ended."""

    code = "work_timeout"

    def __init__(self, operation: str, cap_us: int) -> None:
        super().__init__(f"{operation} did not finish within {cap_us / 1e6:g} s")
        self.operation, self.cap_us = operation, cap_us


class WorkerCrashed(WorkFailed):
    """The process that did the work died. It is replaced; a retry may help."""

    code = "worker_crashed"


class EgressRefused(WorkFailed):
    """An address that tenants may not reach, found after name resolution."""

    code = "egress_refused"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url} may not be reached: {reason}")
        self.url, self.reason = url, reason


class UpstreamFailed(WorkFailed):
    """The remote server could not be reached, broke off, or spoke no HTTP. A retry may help."""

    code = "upstream_failed"


class UpstreamRejected(WorkFailed):
    """The remote answer is not one we read: its status, type, size or encoding."""

    code = "upstream_rejected"


class DocumentUnreadable(WorkFailed):
    """The document itself is broken, encrypted, or too large to read within the limits."""

    code = "document_unreadable"


class Unavailable(TidegateError):
    """A part of the service cannot be had now; a retry may help."""

    code = "unavailable"


class StoreUnavailable(Unavailable):
    """A store did not answer or is full; the outcome of the call is unknown."""

    code = "store_unavailable"


class BrowserUnavailable(Unavailable):
    """No usable Chromium: none was found, or its sandbox cannot be had."""

    code = "browser_unavailable"


class ExtraMissing(Unavailable):
    """An optional dependency is not installed."""

    code = "extra_missing"

    def __init__(self, extra: str) -> None:
        super().__init__(f"this needs an optional part: pip install 'tidegate[{extra}]'")
        self.extra = extra
