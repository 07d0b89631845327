"""What an answer says it is, or looks like where it says nothing.

Source: RFC 9110, section 8.3 (Content-Type).
"""

from __future__ import annotations

import re

UNKNOWN = "application/octet-stream"

SNIFF_BYTES = 512
"""How much of a body the guess looks at."""

_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,127}/[a-z0-9!#$&^_.+-]{1,127}")
_CHARSET = re.compile(r";\s*charset\s*=\s*[\"']?([a-z0-9_.:+-]{1,64})")


def declared(header: str) -> tuple[str | None, str | None]:
    """Return media type and charset of a Content-Type, in lower case; None where it has none."""
    text = header.strip().lower()
    media_type = text.partition(";")[0].strip()
    charset = _CHARSET.search(text)
    return (
        media_type if _MEDIA_TYPE.fullmatch(media_type) else None,
        charset[1] if charset else None,
    )


def sniffed(start: bytes) -> str:
    """Guess the type of a body from how it begins. Knows no more than the service can read."""
    text = start[:SNIFF_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"%PDF-"):
        return "application/pdf"
    return "text/html" if text.startswith(b"<") else UNKNOWN
