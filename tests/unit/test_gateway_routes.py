"""What stands around the frame for gateways: header names of one's own, and carried statuses."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tidegate.bootstrap import Settings
from tidegate.entrypoints.http.check import Carrier, is_check

pytestmark = pytest.mark.anyio

Headers = list[tuple[bytes, bytes]]


async def passed(path: str, headers: Headers, *, tenant: str = "X-Tenant-ID") -> Headers:
    """Return the headers that the frame gets to see."""
    seen: Headers = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(scope["headers"])

    settings = msgspec.convert({"check": {"headers": {"tenant": tenant}}}, Settings)
    scope = {"type": "http", "path": path, "query_string": b"", "headers": headers}
    await Carrier(app, settings)(scope, None, None)  # type: ignore[arg-type]
    return seen


SENT: Headers = [(b"host", b"h"), (b"x-tenant-id", b"client"), (b"x-org", b"gateway")]


async def test_the_tenant_is_where_the_settings_say() -> None:
    renamed = [(b"host", b"h"), (b"x-tenant-id", b"gateway")]
    for path in ("/v1/check", "/v1/check/a", "/v1/release"):
        assert await passed(path, SENT, tenant="X-Org") == renamed
        assert await passed(path, SENT[:2], tenant="X-Org") == SENT[:1]
        assert await passed(path, SENT) == SENT
    for path in ("/v1/checks", "/v1/leases", "/v1/check-in", "/v1/release/x", "/"):
        assert await passed(path, SENT, tenant="X-Org") == SENT


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("/v1/check", True),
        ("/v1/check/", True),
        ("/v1/check/v1/release", True),
        ("/v1/checks", False),
        ("/v1/check%2Fa", False),
        ("/V1/CHECK", False),
        ("/v1", False),
    ],
)
def test_a_check_is_known_by_its_path(path: str, own: bool) -> None:
    assert is_check(path) is own
