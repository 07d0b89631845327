"""Every setting of the service: its name, its default, its range."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tidegate.config.gateways import CheckSettings, EnvoySettings, HaproxySettings
from tidegate.config.limits import LimitSettings, Overridden, limits_of
from tidegate.domain.claim import PRIORITY_DEFAULT, PRIORITY_MAX
from tidegate.domain.limit import Limit
from tidegate.domain.policy import WEIGHT_MAX

MIB = 2**20

Count = Annotated[int, Meta(ge=1, le=10_000)]
Seconds = Annotated[float, Meta(gt=0, le=3600)]
Bytes = Annotated[int, Meta(ge=1, le=2**50)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Weight = Annotated[int, Meta(ge=1, le=WEIGHT_MAX)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One group of settings. A name that is none of its fields is an error."""


class AdaptiveSettings(_Section, frozen=True):
    """Whether a capacity follows what is behind it: by which algorithm, and how low it may go."""

    algorithm: Literal["aimd", "gradient2"] | None = None
    minimum: Count = 1


class BrowserSettings(_Section, frozen=True):
    """Rendering. `fallback`: answer html and text by a plain fetch where no browser is usable."""

    path: str | None = None
    slots: Annotated[int, Meta(ge=1, le=64)] = 3
    sandbox: bool = True
    uid_base: Annotated[int, Meta(ge=1_000, le=2**31)] = 70_000
    timeout_s: Seconds = 3.0
    uses_max: Count = 200
    memory_max_bytes: Bytes = 1024 * MIB
    slot_memory_bytes: Bytes = 256 * MIB
    fallback: bool = True
    adaptive: AdaptiveSettings = AdaptiveSettings()


class PdfSettings(_Section, frozen=True):
    """Reading PDFs: how many at once, and how long for a permit and for the work."""

    workers: Annotated[int, Meta(ge=1, le=64)] = 2
    wait_s: Seconds = 10.0
    timeout_s: Seconds = 10.0
    uses_max: Count = 200
    slot_memory_bytes: Bytes = 128 * MIB


class ExtractSettings(_Section, frozen=True):
    """Extraction in WASM instances: `timeout_s` is for fetching and extracting together."""

    instances: Annotated[int, Meta(ge=1, le=64)] = 4
    timeout_s: Seconds = 10.0
    wasm_timeout_s: Seconds = 5.0
    memory_max_bytes: Annotated[int, Meta(ge=16 * MIB, le=2048 * MIB)] = 128 * MIB
    idle_max_s: Annotated[float, Meta(gt=0, le=86_400)] = 3600.0


class MemorySettings(_Section, frozen=True):
    """The `memory` capacity, and when real use closes the gate."""

    limit_bytes: Bytes = 2048 * MIB
    threshold_percent: Annotated[int, Meta(ge=1, le=100)] = 85
    clear_percent: Annotated[int, Meta(ge=1, le=100)] = 80
    gc_threshold_bytes: Bytes = 1024 * MIB


class PerformanceSettings(_Section, frozen=True):
    """Below `priority_min`, claims are refused while recent operations went badly."""

    priority_min: Annotated[int, Meta(ge=0, le=PRIORITY_MAX)] = PRIORITY_DEFAULT


class HostSettings(_Section, frozen=True):
    """How often one tenant may make us fetch from one host."""

    units: Count = 3
    period_s: Seconds = 2.0
    burst: Count = 3


class EgressSettings(_Section, frozen=True):
    """What untrusted work may reach beside the public internet: CIDRs and hosts, with ports."""

    allow: tuple[str, ...] = ()


class OpenRoutes(_Section, frozen=True):
    """Routes that need no key; turn one off to close it."""

    health: bool = True
    metrics: bool = True
    docs: bool = True


class PlanSettings(_Section, frozen=True):
    """Changes to a plan: quotas by name, caps on what its tenants may ask for, their weight."""

    quotas: dict[str, int] = {}
    priority_max: Annotated[int, Meta(ge=0, le=1000)] | None = None
    lease_max_s: Annotated[int, Meta(ge=1, le=86_400)] | None = None
    leases_max: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    weight: Weight | None = None


class Settings(_Section, frozen=True):
    """Everything the service can be told. `data_dir` holds the database and the admin key."""

    host: str = "127.0.0.1"
    port: Port = 8080
    data_dir: str = ""
    admin_key: Annotated[str, Meta(min_length=16, max_length=512)] | None = None
    store_url: str = "memory://"
    database_url: str = ""
    trusted_proxies: tuple[str, ...] = ()
    user_agent: Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[ -~]+$")] = ""
    body_max_bytes: Annotated[int, Meta(ge=1024, le=1024 * MIB)] = 20 * MIB
    answers_kept_s: Annotated[float, Meta(gt=0, le=30 * 86_400)] = 86_400.0
    shutdown_s: Seconds = 25.0
    browser: BrowserSettings = BrowserSettings()
    pdf: PdfSettings = PdfSettings()
    extract: ExtractSettings = ExtractSettings()
    memory: MemorySettings = MemorySettings()
    performance: PerformanceSettings = PerformanceSettings()
    hosts: HostSettings = HostSettings()
    egress: EgressSettings = EgressSettings()
    open_routes: OpenRoutes = OpenRoutes()
    check: CheckSettings = CheckSettings()
    envoy: EnvoySettings = EnvoySettings()
    haproxy: HaproxySettings = HaproxySettings()
    limits: tuple[LimitSettings, ...] = ()
    overrides: Overridden = {}
    cohorts: dict[str, tuple[str, ...]] = {}
    weights: dict[str, Weight] = {}
    plans: dict[str, PlanSettings] = {}

    def own_limits(self) -> list[Limit]:
        """Return the limits of the `limits` section.

        Raises:
            InvalidSetting: naming the entry and the field.
        """
        return limits_of(self.limits)
