"""Sentinel groups and clusters of the tests form, fail over, and take the dead one back."""

from __future__ import annotations

import hiredis
import pytest

from tests.servers.cluster import Cluster
from tests.servers.sentinel import Sentinels
from tidegate.adapters.redis.address import parse_address

pytest_plugins = ["tests.servers.fixtures"]
pytestmark = [pytest.mark.slow, pytest.mark.needs("valkey_own")]


def test_sentinels_fail_over(own_sentinels: Sentinels) -> None:
    address = parse_address(own_sentinels.url)
    assert [node.port for node in address.nodes] == [s.port for s in own_sentinels.sentinels]
    first = own_sentinels.primary()
    first.ask("SET", "key", "value")
    assert first.ask("WAIT", 2, 10_000) == 2
    old, new = own_sentinels.fail_over()
    assert (old is first, new is first) == (True, False)
    assert new.ask("GET", "key") == b"value"
    old.restart()
    old.wait_until(old.is_in_step, "taken back as a replica")
    with pytest.raises(hiredis.ReplyError, match="READONLY"):
        old.ask("SET", "key", "lost")


def test_a_cluster_redirects_and_moves_slots(shared_cluster: Cluster, cluster_url: str) -> None:
    assert len(parse_address(cluster_url).nodes) == 3
    owner = shared_cluster.owner("key")
    other = next(node for node in shared_cluster.primaries() if node is not owner)
    assert owner.ask("GET", "key") is None
    with pytest.raises(hiredis.ReplyError, match=f"MOVED [0-9]+ 127.0.0.1:{owner.port}"):
        other.ask("GET", "key")
    shared_cluster.move_slot("key", other)
    assert shared_cluster.owner("key") is other
    with pytest.raises(hiredis.ReplyError, match=f"MOVED [0-9]+ 127.0.0.1:{other.port}"):
        owner.ask("GET", "key")
    assert other.ask("SET", "key", "value") == b"OK"
    shared_cluster.flush()
    assert other.ask("GET", "key") is None


def test_a_cluster_fails_over(own_cluster: Cluster) -> None:
    owner = own_cluster.owner("key")
    owner.ask("SET", "key", "value")
    assert owner.ask("WAIT", 1, 10_000) == 1
    old, new = own_cluster.fail_over("key")
    assert (old is owner, new is own_cluster.owner("key")) == (True, True)
    assert new.ask("GET", "key") == b"value"
    old.restart()
    old.wait_until(old.is_in_step, "taken back as a replica")
