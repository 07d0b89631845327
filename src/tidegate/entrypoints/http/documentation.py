"""Examples of answers for the OpenAPI document, one for each kind of answer."""

from __future__ import annotations

from typing import Any

_INSTANT = "2026-11-21T14:00:00Z"
_STATE = {
    "name": "operations",
    "scope": ["acme"],
    "units": 1000,
    "remaining": 999,
    "reset_s": 41.5,
}
_TENANT = {
    "id": "acme",
    "name": "Acme",
    "plan": "free",
    "owner": {"id": "", "name": "Ann", "email": "ann@acme.example"},
    "status": "active",
    "suspended_reason": "",
    "quotas": {
        "requests_per_second": 20,
        "requests_burst": 40,
        "operations_per_minute": 1000,
        "operations_per_month": 10000,
        "cache_bytes": 104857600,
        "storage_bytes": 1073741824,
        "sessions": 100,
    },
    "isolation_level": "strong",
    "generation": 1,
    "created_at": _INSTANT,
    "updated_at": _INSTANT,
}

_READY = {
    "ready": True,
    "draining": False,
    "components": [
        {"name": "store", "state": "ok", "detail": "usage and tenants can be read"},
        {"name": "browsers", "state": "ok", "detail": "1 of 3 lent, 0 idle, 0 failed"},
    ],
}

_EXAMPLES: dict[str, Any] = {
    "render": {
        "url": "https://example.com/",
        "final_url": "https://example.com/",
        "status": 200,
        "title": "Example Domain",
        "format": "text",
        "content": "Example Domain\n...",
        "elapsed_s": 0.41,
        "degraded": False,
        "cached": False,
    },
    "extract": {
        "url": "https://example.com/",
        "status": 200,
        "title": "Example Domain",
        "text": "Example Domain\n...",
        "links": [{"href": "https://www.example.org/", "text": "More"}],
        "metadata": {"description": "An example"},
        "elapsed_s": 0.05,
        "cached": False,
    },
    "pdf": {
        "page_count": 1,
        "metadata": {"Title": "Report"},
        "pages": [{"number": 1, "text": "Report\n..."}],
        "elapsed_s": 0.03,
    },
    "claim": {
        "lease_id": "Qm3xT1aZ-65f1c2a0b3d41",
        "fencing_token": 1795270000000001,
        "expires_at": _INSTANT,
        "granted": {"take": {}, "hold": {"gpu_slots": 1}},
        "limits": [{"name": "gpu_slots", "scope": [], "units": 4, "remaining": 3, "reset_s": None}],
    },
    "explain": {
        "granted": False,
        "reason": "exhausted",
        "limit": "gpu_slots",
        "scope": [],
        "retry_after_s": 12.5,
        "limits": [{"name": "gpu_slots", "scope": [], "units": 4, "remaining": 0, "reset_s": None}],
    },
    "renew": {"lease_id": "Qm3xT1aZ-65f1c2a0b3d41", "expires_at": _INSTANT},
    "leases": {
        "leases": [
            {
                "lease_id": "Qm3xT1aZ-65f1c2a0b3d41",
                "fencing_token": 1795270000000001,
                "expires_at": _INSTANT,
                "hold": {"gpu_slots": 1},
                "claim_id": "job-1",
            }
        ]
    },
    "settle": {"settled": True},
    "limits": {"limits": [_STATE]},
    "limit": {**_STATE, "resource": "operations", "kind": "quota"},
    "all_leases": {
        "leases": [
            {
                "lease_id": "Qm3xT1aZ-65f1c2a0b3d41",
                "fencing_token": 1795270000000001,
                "expires_at": _INSTANT,
                "hold": {"gpu_slots": 1},
                "claim_id": "job-1",
                "tenant": "acme",
                "holder": "http",
                "take": {"llm_tokens": 1000},
            }
        ]
    },
    "usage": {
        "operation_count": 12,
        "failed_count": 1,
        "data_bytes": 48211,
        "compute_time_s": 3.2,
        "storage_bytes": 0,
        "period_start": "2026-11-01T00:00:00Z",
        "period_end": "2026-12-01T00:00:00Z",
    },
    "resources": {
        "browsers_available": 3,
        "browsers_total": 3,
        "pdf_workers_available": 2,
        "pdf_workers_total": 2,
        "memory_used_bytes": 402653184,
        "memory_pressure": False,
        "rate_limit_hits": 0,
        "timeouts_count": 0,
        "degradation_score": 0.0,
    },
    "tenant_created": {**_TENANT, "api_key": "tg_..."},
    "tenant": _TENANT,
    "tenants": {"tenants": [_TENANT]},
    "key": {"id": "a1b2c3d4e5f6", "created_at": _INSTANT, "api_key": "tg_..."},
    "keys": {"keys": [{"id": "a1b2c3d4e5f6", "created_at": _INSTANT}]},
    "audit": {
        "entries": [
            {
                "at": _INSTANT,
                "actor": "admin",
                "tenant": "acme",
                "action": "tenant.create",
                "detail": '{"plan": "free"}',
            }
        ]
    },
    "alive": {"status": "ok"},
    "ready": _READY,
    "health": {
        "readiness": _READY,
        "pools": [
            {
                "name": "browser",
                "total": 3,
                "available": 2,
                "in_use": 1,
                "failed": 0,
                "workers": [
                    {
                        "worker_id": "browser-1",
                        "healthy": True,
                        "operations": 17,
                        "memory_bytes": 86196224,
                        "age_s": 312.5,
                        "idle_s": 0.0,
                    }
                ],
            }
        ],
        "counters": {
            "browser_pool_size": 3,
            "browsers_active": 1,
            "pdf_active": 0,
            "wasm_instances": 1,
            "memory_usage_bytes": 402653184,
            "rate_limit_hits": 2,
            "timeouts_count": 0,
            "cleanup_operations": 0,
            "gc_triggers": 0,
            "render_operations": 20,
            "successful_renders": 19,
            "failed_renders": 1,
            "render_success_rate": 0.95,
            "browser_pool_utilization": 0.333,
        },
    },
    "problem": {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Quota Exceeded",
        "status": 429,
        "detail": "refused by requests for acme: rate_limited, retry after 0.250 s",
        "code": "rate_limited",
        "limit": "requests",
        "scope": ["acme"],
        "violated-policies": ["requests"],
        "remaining": 0,
        "retry_after_s": 0.25,
    },
}

PDF_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "timeout_s": {"type": "number", "exclusiveMinimum": 0},
                    },
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["url"],
                    "additionalProperties": False,
                    "properties": {
                        "url": {"type": "string"},
                        "timeout_s": {"type": ["number", "null"], "exclusiveMinimum": 0},
                    },
                },
                "example": {"url": "https://example.com/report.pdf"},
            },
        },
    }
}


def reply_example(
    kind: str, status: int = 200, *, also: dict[int, str] | None = None
) -> dict[int | str, dict[str, Any]]:
    """Return what a route documents of its answers: good ones, and the shape of problems.

    Args:
        kind: Which example a good answer shows.
        status: Its status.
        also: Other statuses with the same shape, and what they mean.
    """
    content = {"application/json": {"example": _EXAMPLES[kind]}}
    others: dict[int | str, dict[str, Any]] = {
        other: {"description": meaning, "content": content}
        for other, meaning in (also or {}).items()
    }
    return {status: {"content": content}, **others, **PROBLEMS}


def _problem(description: str) -> dict[str, Any]:
    content = {"application/problem+json": {"example": _EXAMPLES["problem"]}}
    return {"description": description, "content": content}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": _problem("The request is wrong, refused, or comes too often."),
    "5XX": _problem("The work failed, or a part of the service is not available now."),
}
METRICS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "text/plain": {"example": "# TYPE tidegate_queue_depth gauge\ntidegate_queue_depth 0\n"}
        }
    }
}
