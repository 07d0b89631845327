"""The ways out that a page can try, each at its own path of the victim.

VICTIM stands for the victim's http URL, HOST for the same without a scheme; TURN, STUN and QUIC
for its other ports. `r/<way>` on the site redirects to the victim.
"""

from __future__ import annotations

import asyncio

from tests.browser.site import Answer, Site
from tests.browser.victim import Victim

MARKUP = {
    "img": "<img src=VICTIM>",
    "script": "<script async src=VICTIM></script>",
    "css_link": "<link rel=stylesheet href=VICTIM>",
    "css_url": "<style>#u { background: url(VICTIM) }</style><p id=u>u",
    "css_import": "<style>@import url(VICTIM);</style>",
    "font": "<style>@font-face { font-family: f; src: url(VICTIM) }</style>"
    "<p style='font-family: f'>f",
    "object": "<object data=VICTIM></object>",
    "embed": "<embed src=VICTIM>",
    "video": "<video preload=auto src=VICTIM></video>",
    "audio": "<audio preload=auto src=VICTIM></audio>",
    "svg_image": "<svg><image href=VICTIM /></svg>",
    "input_image": "<input type=image src=VICTIM>",
    "iframe": "<iframe src=VICTIM></iframe>",
    "iframe_srcdoc": "<iframe srcdoc='<img src=VICTIM>'></iframe>",
    "iframe_sandboxed": "<iframe sandbox=allow-scripts srcdoc='<script>fetch(`VICTIM`)</script>'>"
    "</iframe>",
    "preload": "<link rel=preload as=script href=VICTIM>",
    "prefetch": "<link rel=prefetch href=VICTIM>",
    "modulepreload": "<link rel=modulepreload href=VICTIM>",
    "redirect_img": "<img src=/r/redirect_img>",
    "redirect_iframe": "<iframe src=/r/redirect_iframe></iframe>",
    "speculation_prefetch": "<script type=speculationrules>"
    '{"prefetch": [{"urls": ["VICTIM"], "eagerness": "immediate"}]}</script>',
    "speculation_prerender": "<script type=speculationrules>"
    '{"prerender": [{"urls": ["VICTIM"], "eagerness": "immediate"}]}</script>',
}

SCRIPTS = {
    "fetch": "fetch('VICTIM')",
    "fetch_post": "fetch('VICTIM', {method: 'POST', body: 'x', headers: {'X-Own': '1'}})",
    "redirect_fetch": "fetch('/r/redirect_fetch')",
    "xhr": "const x = new XMLHttpRequest(); x.open('GET', 'VICTIM'); x.send()",
    "beacon": "navigator.sendBeacon('VICTIM', 'x')",
    "eventsource": "new EventSource('VICTIM')",
    "import": "import('VICTIM')",
    "ping": "const a = document.createElement('a'); a.href = '#'; a.ping = 'VICTIM'; a.click()",
    "websocket": "new WebSocket('ws://HOST')",
    "worker_fetch": "work(`fetch('VICTIM')`)",
    "worker_import": "work(`importScripts('VICTIM')`)",
    "worker_websocket": "work(`new WebSocket('ws://HOST')`)",
    "worker_nested": "work(`new Worker(URL.createObjectURL(new Blob([\"fetch('VICTIM')\"])))`)",
    "shared_worker": "new SharedWorker(blob(`fetch('VICTIM')`))",
    "shared_worker_websocket": "new SharedWorker(blob(`new WebSocket('ws://HOST')`))",
    "service_worker": "navigator.serviceWorker.register('/sw/service_worker')",
    "service_worker_import": "navigator.serviceWorker.register('/sw/service_worker_import')",
    "service_worker_websocket": "navigator.serviceWorker.register('/sw/service_worker_websocket')",
    "window_open": "window.open('VICTIM')",
    "window_open_noopener": "window.open('VICTIM', '_blank', 'noopener')",
    "window_blank_fetch": "window.open('about:blank').fetch('VICTIM')",
    "worklet": "new OfflineAudioContext(1, 1, 44100).audioWorklet.addModule('VICTIM')",
    "webrtc_stun": "ice({urls: 'stun:STUN'})",
    "webrtc_turn": "ice({urls: 'turn:TURN?transport=tcp', username: 'u', credential: 'c'})",
    "webtransport": "new WebTransport('https://QUIC/x')",
}

TOOLS = """
const blob = code => URL.createObjectURL(new Blob([code], {type: 'text/javascript'}));
const work = code => new Worker(blob(code));
const ice = server => {
  const peer = new RTCPeerConnection({iceServers: [server]});
  peer.createDataChannel('x');
  peer.createOffer().then(offer => peer.setLocalDescription(offer));
};
"""

FRAMES = {
    "form": Answer(body="<form action=VICTIM></form><script>document.forms[0].submit()</script>"),
    "form_blank": Answer(
        body="<form action=VICTIM target=_blank></form><script>document.forms[0].submit()</script>"
    ),
    "meta_refresh": Answer(body="<meta http-equiv=refresh content='0; url=VICTIM'>"),
    "location": Answer(body="<script>location = 'VICTIM'</script>"),
    "link_header": Answer(body="x", headers={"Link": "<VICTIM>; rel=preload; as=script"}),
    "csp_report": Answer(
        body="<img src=/absent>",
        headers={"Content-Security-Policy": "img-src 'none'; report-uri VICTIM"},
    ),
    "keepalive": Answer(
        body="<script>onbeforeunload = () => { fetch('VICTIM', {keepalive: true}) };"
        "setTimeout(() => location = '/absent', 100)</script>"
    ),
}

SERVICE_WORKERS = {
    "service_worker": "fetch('VICTIM')",
    "service_worker_import": "importScripts('VICTIM')",
    "service_worker_websocket": "new WebSocket('ws://HOST')",
}

TOPS = {
    "top_redirect": Answer(status=302, headers={"Location": "VICTIM"}),
    "top_location": Answer(body="<script>location = 'VICTIM'</script>"),
    "top_refresh": Answer(body="<meta http-equiv=refresh content='0; url=VICTIM'>"),
    "top_form": Answer(
        body="<form method=post action=VICTIM></form><script>document.forms[0].submit()</script>"
    ),
}
"""Ways that take the top frame along, so each needs a visit of its own."""

INSIDE = {*MARKUP, *SCRIPTS, *FRAMES}


def lay_out(site: Site, victim: Victim, *, until: asyncio.Event | None = None) -> dict[str, str]:
    """Serve the page that tries everything inside, and those of `TOPS`; return their URLs.

    The first is not complete before `until` is set.
    """
    for way in INSIDE:
        location = {"Location": victim.addressed("VICTIM", way)}
        site.pages[f"/r/{way}"] = Answer(status=302, headers=location)
    for way, code in SERVICE_WORKERS.items():
        body = victim.addressed(code, way)
        site.pages[f"/sw/{way}"] = Answer(body=body, kind="text/javascript")
    for way, answer in (FRAMES | TOPS).items():
        headers = {name: victim.addressed(text, way) for name, text in answer.headers.items()}
        body = victim.addressed(answer.body, way)
        site.pages[f"/{way}"] = Answer(body=body, status=answer.status, headers=headers)
    site.pages["/hold"] = Answer(kind="image/png", until=until)
    return {
        "inside": site.put("/everything", _everything(victim)),
        **{way: site.url(f"/{way}") for way in TOPS},
    }


def _everything(victim: Victim) -> str:
    parts = ["<!doctype html><title>everything</title><img src=/hold><body>"]
    parts += [victim.addressed(markup, way) for way, markup in MARKUP.items()]
    parts += [f"<iframe src=/{way}></iframe>" for way in FRAMES]
    parts.append(f"<script>{TOOLS}</script>")
    # A script for each, so that one that throws takes no other along.
    for way, script in SCRIPTS.items():
        parts.append(f"<script>{{ {victim.addressed(script, way)} }}</script>")
    return "\n".join(parts)
