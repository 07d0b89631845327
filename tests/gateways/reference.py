"""A client of Envoy's rate limit service with the libraries that others use, run by the tests.

Reads calls as JSON, one a line, from standard input: {"port", "key", "timeout_s", "request"},
and writes what came back: {"response"} or {"status"}. A call whose `method` is "health" asks after
the health instead. Runs with the packages of `messages.txt` alone, away from the project's own.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import grpc  # type: ignore[import-untyped]
from envoy.service.ratelimit.v3 import rls_pb2, rls_pb2_grpc  # type: ignore[import-not-found]
from google.protobuf import json_format  # type: ignore[import-untyped]

HEALTH = "/grpc.health.v1.Health/Check"


def answer(call: dict[str, Any], channel: Any) -> dict[str, Any]:
    key = call.get("key")
    metadata = [("authorization", f"Bearer {key}")] if key else []
    options = {"timeout": call.get("timeout_s", 30.0), "metadata": metadata}
    try:
        if call.get("method") == "health":
            return {"response": list(channel.unary_unary(HEALTH)(b"", **options))}
        request = json_format.ParseDict(call["request"], rls_pb2.RateLimitRequest())
        stub = rls_pb2_grpc.RateLimitServiceStub(channel)
        response = stub.ShouldRateLimit(request, **options)
    except grpc.RpcError as error:
        return {"status": error.code().name, "details": error.details()}
    shown = json_format.MessageToDict(response, preserving_proto_field_name=True)
    return {"response": shown}


def main() -> None:
    channels: dict[int, Any] = {}
    for line in sys.stdin:
        call = json.loads(line)
        port = call["port"]
        if port not in channels:
            channels[port] = grpc.insecure_channel(f"127.0.0.1:{port}")
        print(json.dumps(answer(call, channels[port])), flush=True)


if __name__ == "__main__":
    main()
