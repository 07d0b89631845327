"""Store URLs: what is read, what is refused by name, and that no secret is ever shown."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from tidegate.adapters.redis.address import RedisAddress, parse_address
from tidegate.adapters.redis.endpoint import Endpoint, Node
from tidegate.adapters.redis.tls import Tls
from tidegate.errors import InvalidSetting

ONE = (Node(host="h", port=6379),)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", {"nodes": ONE}),
        ("redis://h/", {"nodes": ONE}),
        ("redis://10.0.0.1:7000/3", {"nodes": (Node(host="10.0.0.1", port=7000),), "db": 3}),
        ("redis://h?db=3", {"nodes": ONE, "db": 3}),
        ("redis://[::1]:7000", {"nodes": (Node(host="::1", port=7000),)}),
        ("redis://:p%40ss%2F%3Aword@h", {"nodes": ONE, "password": "p@ss/:word"}),
        ("redis://ann:a:b@h", {"nodes": ONE, "user": "ann", "password": "a:b"}),
        ("redis://:a@b@h", {"nodes": ONE, "password": "a@b"}),
        ("unix:///run/a.sock?db=2", {"nodes": (Node(path="/run/a.sock"),), "db": 2}),
        ("unix://:x@/run/a@b", {"nodes": (Node(path="/run/a@b"),), "password": "x"}),
        ("rediss://h", {"nodes": ONE, "tls": Tls()}),
        (
            "rediss://h?ssl_cert_reqs=none&ssl_ca_certs=/c%20a&ssl_check_hostname=False",
            {"nodes": ONE, "tls": Tls(ca_file="/c a", verify=False, check_hostname=False)},
        ),
        (
            "rediss://h?ssl_certfile=c&ssl_keyfile=k&ssl_password=x",
            {"nodes": ONE, "tls": Tls(cert_file="c", key_file="k", key_password="x")},
        ),
        (
            "redis+sentinel://ann:x@a,b:2/group/4?sentinel_username=s&sentinel_password=y",
            {
                "mode": "sentinel",
                "nodes": (Node(host="a", port=26379), Node(host="b", port=2)),
                "user": "ann",
                "password": "x",
                "db": 4,
                "service": "group",
                "sentinel_user": "s",
                "sentinel_password": "y",
            },
        ),
        (
            "rediss+cluster://a,[::2]:3",
            {
                "mode": "cluster",
                "nodes": (Node(host="a", port=6379), Node(host="::2", port=3)),
                "tls": Tls(),
            },
        ),
    ],
)
def test_urls_are_read(url: str, expected: dict[str, Any]) -> None:
    expected.setdefault("mode", "standalone")
    assert parse_address(url) == RedisAddress(**expected)


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("", ""),
        ("hunter2", ""),
        ("http://h", ""),
        ("redis:h", ""),
        (f"redis://{'h' * 9000}", ""),
        ("redis://:hunter2#@h", ""),
        ("redis://:hunter2/@h", ""),
        ("redis://:hunter2?@h", ""),
        ("redis://hunter2@h", "password"),
        ("redis://ann:@h", "password"),
        ("redis://", "host"),
        ("redis://:hunter2", "host"),
        ("redis://a b", "port"),
        ("redis:// b", "host"),
        ("redis://a,b", "host"),
        ("redis://[::1", "host"),
        ("redis://h..i", "host"),
        (f"redis://{'h' * 64}.example", "host"),
        ("redis+cluster://a,,b", "host"),
        ("redis://h:hunter2", "port"),
        ("redis://h:0", "port"),
        ("redis://h:65536", "port"),
        ("redis://h:", "port"),
        ("redis://h:\u0661", "port"),
        ("redis://[::1]6379", "port"),
        ("redis://h/hunter2", "db"),
        ("redis://h/-1", "db"),
        ("redis://h/1/2", "db"),
        ("redis://h/2147483648", "db"),
        ("redis://h/1?db=1", "db"),
        ("redis+cluster://h/1", "db"),
        ("redis+cluster://h?db=0", "options"),
        ("redis://h?db=1&db=1", "options"),
        ("redis://h?hunter2=1", "options"),
        ("redis://h?hunter2", "options"),
        ("redis://h?ssl_cert_reqs=none", "options"),
        ("redis://h?sentinel_password=hunter2", "options"),
        ("rediss://h?ssl_cert_reqs=hunter2", "ssl_cert_reqs"),
        ("rediss://h?ssl_check_hostname=hunter2", "ssl_check_hostname"),
        ("rediss://h?ssl_password=hunter2", "ssl_certfile"),
        ("redis+sentinel://h", "service"),
        ("redis+sentinel://h//1", "service"),
        ("unix://", "path"),
        ("unix://host/path", "path"),
        ("unix:///a%00b", "path"),
        (f"unix:///{'s' * 200}", "path"),
    ],
)
def test_what_is_wrong_is_named_and_never_shown(url: str, part: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        parse_address(url, setting="cache.url")
    assert caught.value.field == f"cache.url.{part}".rstrip(".")
    shown = str(caught.value) + repr(caught.value) + repr(caught.value.value)
    assert SECRET not in shown
    assert caught.value.__cause__ is None


def test_no_text_of_an_address_holds_a_secret() -> None:
    url = (
        "rediss+sentinel://ann:hunter2@h,i:7/group?sentinel_password=hunter2"
        "&ssl_certfile=c&ssl_password=hunter2"
    )
    address = parse_address(url)
    things = (address, address.endpoint(), *address.sentinels(), address.tls)
    assert all(SECRET not in f"{thing} {thing!r}" for thing in things)
    assert str(address) == "h:26379,i:7/group"
    assert str(Node(host="::1", port=1)) == "[::1]:1"


def test_nodes_and_sentinels_are_reached_with_their_own_credentials() -> None:
    address = parse_address("redis+sentinel://:x@h/group/2?sentinel_password=y")
    master = Node(host="m", port=1)
    assert address.endpoint(master) == Endpoint(node=master, password="x", db=2)
    assert address.sentinels() == (Endpoint(node=address.nodes[0], password="y"),)
    assert parse_address("redis://h").sentinels() == ()


PEM = Path(__file__).parents[1] / "integration" / "tls_test.pem"


@pytest.mark.parametrize(
    ("tls", "verify", "named"),
    [
        (Tls(), ssl.CERT_REQUIRED, True),
        (Tls(ca_file=str(PEM), check_hostname=False), ssl.CERT_REQUIRED, False),
        (Tls(cert_file=str(PEM), verify=False), ssl.CERT_NONE, False),
    ],
)
def test_tls_trusts_what_it_was_told_to(tls: Tls, verify: ssl.VerifyMode, named: bool) -> None:
    context = tls.context()
    assert (context.verify_mode, context.check_hostname) == (verify, named)


@pytest.mark.parametrize(
    ("tls", "field"),
    [
        (Tls(ca_file="/nowhere"), "ssl_ca_certs"),
        (Tls(ca_file=__file__), "ssl_ca_certs"),
        (Tls(cert_file="/nowhere"), "ssl_certfile"),
        (Tls(cert_file=__file__), "ssl_certfile"),
    ],
)
def test_a_file_without_a_certificate_is_named(tls: Tls, field: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        tls.context()
    assert caught.value.field == field
