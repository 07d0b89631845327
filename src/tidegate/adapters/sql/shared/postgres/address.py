"""Where a server is, from a URL that holds secrets: as text it is without them."""

from __future__ import annotations

import re

from tidegate.adapters.sql.shared.postgres.failures import connecting
from tidegate.adapters.sql.shared.postgres.link import Link, LinkLost, ServerError, parsed
from tidegate.errors import InvalidSetting, TidegateError

_DEFAULTS = {"application_name": "tidegate", "client_encoding": "UTF8"}


class Address:
    """One or several hosts, of which the first that can be written to is used.

    Raises:
        InvalidSetting: the URL is none.
        ExtraMissing: the client library is not installed.
    """

    def __init__(self, url: str) -> None:
        settings = {**_DEFAULTS, **parsed(url)}
        if any(port and not _is_port(port) for port in settings.get("port", "").split(",")):
            raise InvalidSetting("store_url.port", "(hidden)", "1..65535")
        hosts = [settings.pop(name, "").split(",") for name in ("host", "hostaddr", "port")]
        count = max(map(len, hosts))
        self._name = settings.get("dbname", "")
        self._hosts = [
            {
                name: values[min(number, len(values) - 1)]
                for name, values in zip(("host", "hostaddr", "port"), hosts, strict=True)
                if values[min(number, len(values) - 1)]
            }
            for number in range(count)
        ]
        self._settings = settings

    def __str__(self) -> str:
        hosts = [
            ":".join(filter(None, (host.get("host") or host.get("hostaddr"), host.get("port"))))
            for host in self._hosts
        ]
        return f"{','.join(hosts) or 'localhost'}/{self._name}".rstrip("/")

    def open(self, timeout_s: float) -> Link:
        """Connect to the first host that lets us, within so much time for all of them.

        Raises:
            StoreUnavailable: none can be reached now.
            InvalidSetting: the last one said that it never will.
        """
        failure: TidegateError | None = None
        for host in self._hosts:
            try:
                return Link.open({**self._settings, **host}, timeout_s / len(self._hosts))
            except LinkLost as error:
                failure = self.failure(error)
                failure.__cause__ = error
        assert failure is not None
        raise failure

    def failure(self, error: ServerError | LinkLost) -> TidegateError:
        """Return why there is no connection: for now, or for good."""
        return connecting(error, str(self))


def _is_port(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and 1 <= int(text) <= 65_535
