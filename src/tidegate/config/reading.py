"""Reading settings: the environment wins over files, files over defaults.

An unknown or invalid setting stops the start with an error that names it; nothing is guessed and
nothing is silently ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tidegate.config.settings import Settings
from tidegate.errors import ExtraMissing, InvalidSetting

_ENVIRONMENT = {
    "TIDEGATE_HOST": "host",
    "TIDEGATE_PORT": "port",
    "TIDEGATE_DATA_DIR": "data_dir",
    "TIDEGATE_ADMIN_KEY": "admin_key",
    "TIDEGATE_STORE_URL": "store_url",
    "TIDEGATE_DATABASE_URL": "database_url",
    "TIDEGATE_TRUSTED_PROXIES": "trusted_proxies",
    "TIDEGATE_EGRESS_ALLOW": "egress.allow",
    "TIDEGATE_USER_AGENT": "user_agent",
}
NO_SETTINGS = ("TIDEGATE_CONFIG", "TIDEGATE_PURE")
"""Read before there are settings: where they are, and which form of the package is used."""
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def load_settings(environ: Mapping[str, str], *, folder: Path) -> Settings:
    """Read the settings.

    Args:
        environ: The environment; names that start with `TIDEGATE_` must be known.
        folder: Where `./config` is looked for when `TIDEGATE_CONFIG` names nothing.

    Raises:
        InvalidSetting: naming the setting.
        ExtraMissing: there is a file, and no YAML parser to read it.
    """
    tree: dict[str, Any] = {}
    for path in _files(environ.get("TIDEGATE_CONFIG"), folder):
        _merge(tree, _read(path, environ))
    for name, text in environ.items():
        if name in _ENVIRONMENT:
            _put(tree, _ENVIRONMENT[name], text)
        elif name.startswith("TIDEGATE_") and name not in NO_SETTINGS:
            known = " | ".join(sorted([*_ENVIRONMENT, *NO_SETTINGS]))
            raise InvalidSetting(name, "(set)", known)
    return _convert(tree)


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Return where data is kept when no setting says: under XDG_DATA_HOME, or the home folder."""
    root = environ.get("XDG_DATA_HOME") or Path(environ.get("HOME", "/")) / ".local" / "share"
    return Path(root) / "tidegate"


def _convert(tree: dict[str, Any]) -> Settings:
    try:
        settings = msgspec.convert(tree, Settings)
    except msgspec.ValidationError as error:
        raise _named(str(error), tree) from None
    if settings.memory.clear_percent > settings.memory.threshold_percent:
        allowed = f"at most threshold_percent, {settings.memory.threshold_percent}"
        raise InvalidSetting("memory.clear_percent", settings.memory.clear_percent, allowed)
    for name, section in (("browser", settings.browser), ("pdf", settings.pdf)):
        if section.slot_memory_bytes > settings.memory.limit_bytes:
            allowed = f"at most memory.limit_bytes, {settings.memory.limit_bytes}"
            raise InvalidSetting(f"{name}.slot_memory_bytes", section.slot_memory_bytes, allowed)
    if settings.browser.adaptive.minimum > settings.browser.slots:
        allowed = f"at most browser.slots, {settings.browser.slots}"
        raise InvalidSetting("browser.adaptive.minimum", settings.browser.adaptive.minimum, allowed)
    settings.own_limits()
    return settings


def _named(message: str, tree: dict[str, Any], kind: type = Settings) -> InvalidSetting:
    """Turn the decoder's message, `<reason> - at `$.<path>``, into an error with a field."""
    reason, _, path = message.replace(" at `key` in `", " at `").partition(" - at `$")
    parts: list[str] = []
    value: Any = tree
    for part in re.findall(r"\.\.\.|\w+", path):
        # The decoder does not say which of several names of one's own it means.
        name = _guilty(tree, parts, value, kind, message) if part == "..." else part
        parts.append(name)
        value = value[int(name)] if isinstance(value, list) else (value or {}).get(name)
    unknown = re.search(r"unknown field `([^`]+)`", reason)
    if unknown:
        return InvalidSetting(_path([*parts, unknown[1]]), "(set)", "no setting of that name")
    missing = re.search(r"missing required field `([^`]+)`", reason)
    if missing:
        return InvalidSetting(_path([*parts, missing[1]]), "(unset)", "a value")
    shown = "(hidden)" if "key" in parts[-1:] or "admin_key" in parts else value
    return InvalidSetting(_path(parts) or "settings", shown, reason.removeprefix("Expected "))


def _guilty(
    tree: dict[str, Any], parts: list[str], value: dict[str, Any], kind: type, message: str
) -> str:
    """Return the name in a mapping with which alone the same is wrong."""
    for name, item in value.items():
        try:
            msgspec.convert(_with(tree, parts, {name: item}), kind)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return str(name)
    return "..."


def _with(tree: Any, parts: list[str], value: Any) -> Any:
    """Return a tree with another value at one place."""
    if not parts:
        return value
    name, *others = parts
    if isinstance(tree, list):
        index = int(name)
        return [*tree[:index], _with(tree[index], others, value), *tree[index + 1 :]]
    return {**tree, name: _with(tree[name], others, value)}


def _path(parts: list[str]) -> str:
    return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", ".".join(parts))


def _files(configured: str | None, folder: Path) -> list[Path]:
    path = Path(configured) if configured else folder / "config"
    if path.is_dir():
        return sorted(path.glob("*.yml"))
    if path.is_file():
        return [path]
    if configured:
        raise InvalidSetting("TIDEGATE_CONFIG", configured, "an existing file or folder")
    return []


def _read(path: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    try:
        import yaml
    except ImportError:
        raise ExtraMissing("server") from None
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSetting(str(path), "(content)", f"a readable file: {error}") from None
    except yaml.YAMLError as error:
        # The parser's own message quotes the lines around, and a line may hold a secret.
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        allowed = f"YAML; {problem or 'it cannot be parsed'}{where}"
        raise InvalidSetting(str(path), "(content)", allowed) from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise InvalidSetting(str(path), type(tree).__name__, "a mapping of settings")
    expanded = _expand(tree, environ)
    assert isinstance(expanded, dict)
    return expanded


def _expand(value: Any, environ: Mapping[str, str]) -> Any:
    """Put variables into the texts of a parsed file, so that they cannot change its structure."""
    if isinstance(value, dict):
        return {key: _expand(item, environ) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, environ) for item in value]
    if isinstance(value, str) and "${" in value:
        expanded = _VARIABLE.sub(lambda match: _variable(match, environ), value)
        return int(expanded) if expanded.isascii() and expanded.isdigit() else expanded
    return value


def _variable(match: re.Match[str], environ: Mapping[str, str]) -> str:
    name, default = match[1], match[2]
    value = environ.get(name) or default
    if value is None:
        raise InvalidSetting("${" + name + "}", "(unset)", "a set variable, or ${NAME:-default}")
    return value


def _merge(tree: dict[str, Any], other: dict[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = value


def _put(tree: dict[str, Any], path: str, text: str) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            # An empty section, or none at all: `_convert` names it.
            return
    if name in ("allow", "trusted_proxies"):
        tree[name] = [part.strip() for part in text.split(",") if part.strip()]
    elif name == "port":
        tree[name] = int(text) if text.strip().isascii() and text.strip().isdigit() else text
    else:
        tree[name] = text
