"""The switches that every browser gets, on top of those that playwright sets.

Chromium ignores an unknown switch without a word, so tests/browser/test_egress.py tries the ways
out that these close; run it at every update of Chromium or playwright.
"""

from __future__ import annotations

from urllib.parse import urlsplit

# Nothing listens on the discard port: only a context with a passage of its own gets out.
NOWHERE = "http://127.0.0.1:9"

_ALWAYS = (
    # WebRTC opens UDP sockets past any proxy; the name without "force-" has no effect.
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--block-new-web-contents",
    "--disable-shared-workers",
    "--disable-3d-apis",
    "--disable-file-system",
    "--disable-notifications",
    "--disable-speech-api",
    "--disable-background-networking",
    "--disable-domain-reliability",
    "--no-pings",
    # Together these two bring the GPU process under a seccomp filter; WebGL is the price.
    "--disable-gpu",
    "--disable-software-rasterizer",
    # In MiB. Arrays and canvases live outside this heap; the watchdog bounds those.
    "--js-flags=--max-old-space-size=128",
)


def switches(proxy_url: str) -> list[str]:
    """All switches for a browser whose guard listens on the host of `proxy_url`."""
    guard = urlsplit(proxy_url).hostname or "127.0.0.1"
    excluded = dict.fromkeys(("127.0.0.1", guard))
    # The browser resolves no name itself: the guard does, and dials what it checked.
    rules = ", ".join(["MAP * ~NOTFOUND", *(f"EXCLUDE {host}" for host in excluded)])
    return [*_ALWAYS, f"--host-resolver-rules={rules}"]
