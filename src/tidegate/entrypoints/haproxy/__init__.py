"""The agent that HAProxy asks through its stream processing offload engine (SPOE)."""
