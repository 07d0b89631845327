"""A worker in another process or language: claim over HTTP, keep the lease alive, give it back.

Start it with `python worker.py http://127.0.0.1:8080 KEY`, against a service that was started with
`TIDEGATE_CONFIG=docs/examples/tidegate.yml`, where `gpu_slots` is claimable. It needs httpx.
"""

import sys
import threading
import time
import uuid

import httpx

LEASE_S = 30.0


def work(stopped: threading.Event) -> str:
    """Stand in for the real work, which looks at `stopped` now and then."""
    stopped.wait(0.1)
    return "stopped" if stopped.is_set() else "done"


def run(client: httpx.Client) -> str:
    """Do one piece of work that needs a GPU slot."""
    # The id makes the claim safe to repeat: after a time-out, send it again.
    claim = {"hold": {"gpu_slots": 1}, "timeout_s": 10, "lease_s": LEASE_S, "id": uuid.uuid4().hex}
    granted = client.post("/v1/claims", json=claim, timeout=20).raise_for_status().json()
    lease = f"/v1/leases/{granted['lease_id']}"
    stopped, ended = threading.Event(), threading.Event()

    def renew() -> None:
        renewed_s = time.monotonic()
        while not ended.wait(LEASE_S / 6):
            try:
                answer = client.post(f"{lease}/renew", json={"lease_s": LEASE_S})
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.is_success:
                renewed_s = time.monotonic()
            elif (answer is not None and answer.status_code == 404) or (
                time.monotonic() - renewed_s > LEASE_S * 2 / 3
            ):
                # The slot may soon be another's: stop before that.
                stopped.set()
                return

    renewing = threading.Thread(target=renew)
    renewing.start()
    try:
        return work(stopped)
    finally:
        ended.set()
        renewing.join()
        client.delete(lease)


if __name__ == "__main__":
    address, key = sys.argv[1:]
    with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {key}"}) as client:
        print(run(client))
