"""What the ready-made claim functions make of scopes and environs, also of forged ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tidegate.domain.claim import Claim
from tidegate.entrypoints.middleware import by_client_address, by_header, per_route
from tidegate.errors import InvalidRequest

PROXIES = ("10.0.0.0/8", "fd00::/8", "192.0.2.7")


def scope(*headers: tuple[str, str], **more: Any) -> dict[str, Any]:
    fields = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return {"type": "http", "method": "GET", "path": "/", "headers": fields, "client": None} | more


def environ(*headers: tuple[str, str], **more: Any) -> dict[str, Any]:
    fields: dict[str, str] = {}
    for name, value in headers:
        key = f"HTTP_{name.upper().replace('-', '_')}"
        fields[key] = f"{fields[key]},{value}" if key in fields else value
    return {"REQUEST_METHOD": "GET", "PATH_INFO": "/", **fields, **more}


def both(*headers: tuple[str, str], peer: str = "") -> list[dict[str, Any]]:
    client = (peer, 4711) if peer else None
    return [scope(*headers, client=client), environ(*headers, REMOTE_ADDR=peer)]


def test_the_tenant_is_what_a_header_says() -> None:
    claim = by_header("X-Tenant-ID", take={"requests": 1}, hold={"slots": 2})
    for source in both(("X-Tenant-ID", " acme ")):
        expected = Claim(tenant="acme", take={"requests": 1}, hold={"slots": 2})
        assert claim(source) == expected
        # Request objects carry one of the two.
        for name in ("scope", "META", "environ"):
            assert claim(SimpleNamespace(**{name: source})) == expected


def test_who_says_nothing_shares_one_tenant() -> None:
    for source in (*both(), *both(("X-Tenant-ID", "")), *both(("X-Tenant", "acme"))):
        made = by_header("X-Tenant-ID")(source)
        assert made == Claim(tenant="anonymous")
        made = by_header("X-Tenant-ID", absent="guests")(source)
        assert made == Claim(tenant="guests")


def test_a_tenant_cannot_be_endless() -> None:
    claim = by_header("X-Tenant-ID")
    for source in both(("X-Tenant-ID", "a" * 201)):
        with pytest.raises(InvalidRequest) as refused:
            claim(source)
        assert refused.value.field == "X-Tenant-ID"
        assert len(str(refused.value)) < 100


@pytest.mark.parametrize(
    ("peer", "forwarded", "tenant"),
    [
        pytest.param("198.51.100.9", [], "198.51.100.9", id="nobody in between"),
        pytest.param("198.51.100.9", ["203.0.113.1"], "198.51.100.9", id="a stranger's word"),
        pytest.param("10.0.0.1", ["203.0.113.1"], "203.0.113.1", id="a proxy's word"),
        pytest.param("10.0.0.1", ["1.1.1.1, 203.0.113.1"], "203.0.113.1", id="forged on the left"),
        pytest.param("10.0.0.1", ["1.1.1.1", "203.0.113.1"], "203.0.113.1", id="in two lines"),
        pytest.param("10.0.0.1", ["203.0.113.1, 192.0.2.7"], "203.0.113.1", id="two proxies"),
        pytest.param("10.0.0.1", ["10.9.9.9, 10.0.0.2"], "10.9.9.9", id="a client of our own"),
        pytest.param("10.0.0.1", [], "10.0.0.1", id="a proxy's own request"),
        pytest.param("10.0.0.1", ["203.0.113.1, unknown"], "10.0.0.1", id="no address"),
        pytest.param("10.0.0.1", ["203.0.113.1:4711"], "203.0.113.1", id="with a port"),
        pytest.param("10.0.0.1", ["[2001:db8:1:2:3::4]:80"], "2001:db8:1:2::/64", id="IPv6, port"),
        pytest.param("fd00::1", ["2001:db8:1:2:3::4"], "2001:db8:1:2::/64", id="IPv6"),
        pytest.param("fe80::1%eth0", [], "fe80::/64", id="with a zone"),
        pytest.param("::ffff:10.0.0.1", ["203.0.113.1"], "203.0.113.1", id="IPv4 in IPv6"),
        pytest.param("", ["203.0.113.1"], "unix", id="a socket nobody trusts"),
        pytest.param("testclient", ["203.0.113.1"], "testclient", id="a peer by name"),
    ],
)
def test_the_client_is_whom_trusted_proxies_name(
    peer: str, forwarded: list[str], tenant: str
) -> None:
    claim = by_client_address(take={"requests": 1}, trusted_proxies=PROXIES)
    for source in both(*(("X-Forwarded-For", line) for line in forwarded), peer=peer):
        assert claim(source) == Claim(tenant=tenant, take={"requests": 1})


def test_a_proxy_on_a_socket_is_believed_if_it_is_trusted() -> None:
    for source in both(("X-Forwarded-For", "203.0.113.1")):
        assert by_client_address(trusted_proxies=["unix"])(source) == Claim(tenant="203.0.113.1")
        assert by_client_address()(source) == Claim(tenant="unix")
    for source in both():
        assert by_client_address(trusted_proxies=["unix"])(source) == Claim(tenant="unix")


def test_ipv6_clients_are_as_large_as_they_are_said_to_be() -> None:
    source = scope(client=("2001:db8:1:2:3::4", 1))
    assert by_client_address(ipv6_prefix=48)(source) == Claim(tenant="2001:db8:1::/48")
    assert by_client_address(ipv6_prefix=128)(source) == Claim(tenant="2001:db8:1:2:3::4/128")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"trusted_proxies": ["10.0.0.1/8"]}, "trusted_proxies"),
        ({"trusted_proxies": "10.0.0.0/8"}, "trusted_proxies"),
        ({"ipv6_prefix": 0}, "ipv6_prefix"),
        ({"ipv6_prefix": 129}, "ipv6_prefix"),
    ],
)
def test_what_is_no_network_is_refused(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        by_client_address(**wrong)
    assert refused.value.field == field


ROUTES = per_route(
    {
        "/health": None,
        "POST /reports": by_header("X-Tenant", take={"reports": 1}),
        "/users/{}/photo": by_header("X-Tenant", take={"photos": 1}),
        "GET /reports": by_header("X-Tenant", take={"reads": 1}),
    },
    otherwise=by_header("X-Tenant", take={"others": 1}),
)


@pytest.mark.parametrize(
    ("method", "path", "taken", "route"),
    [
        ("GET", "/health", None, None),
        ("GET", "/health/deep", None, None),
        ("GET", "/healthy", "others", None),
        ("POST", "/reports", "reports", "POST /reports"),
        ("POST", "/reports/", "reports", "POST /reports"),
        ("POST", "//reports/7", "reports", "POST /reports"),
        ("GET", "/reports/7", "reads", "GET /reports"),
        ("HEAD", "/reports/7", "reads", "GET /reports"),
        ("PUT", "/reports/7", "others", None),
        ("GET", "/users/ann/photo", "photos", "/users/{}/photo"),
        ("GET", "/users/ann/photo/large", "photos", "/users/{}/photo"),
        ("GET", "/users/ann", "others", None),
        ("GET", "/users//photo", "others", None),
        ("GET", "/", "others", None),
    ],
)
def test_each_route_has_its_own_claim(
    method: str, path: str, taken: str | None, route: str | None
) -> None:
    expected = taken and Claim(tenant="anonymous", take={taken: 1}, route=route)
    assert ROUTES(scope(method=method, path=path)) == expected
    assert ROUTES(scope(method=method, path=f"/app{path}", root_path="/app")) == expected
    assert ROUTES(environ(REQUEST_METHOD=method, PATH_INFO=path)) == expected


def test_a_socket_is_a_get_and_a_mount_is_no_prefix_of_a_word() -> None:
    socket = scope(path="/reports/live")
    del socket["method"]
    made = ROUTES(socket)
    assert made is not None
    assert made.route == "GET /reports"
    made = ROUTES(scope(method="POST", path="/reports", root_path="/rep"))
    assert made is not None
    assert made.route == "POST /reports"
    # PEP 3333: the bytes of a path, read as latin-1.
    german = per_route({"/größe": by_header("X-Tenant", take={"sizes": 1})}, otherwise=None)
    made = german(environ(PATH_INFO="/größe".encode().decode("latin-1")))
    assert made is not None
    assert german(scope(path="/other")) is None


@pytest.mark.parametrize("route", ["reports", "GET reports", "GET  POST /reports", ""])
def test_what_is_no_route_is_refused(route: str) -> None:
    with pytest.raises(InvalidRequest):
        per_route({route: None}, otherwise=None)
