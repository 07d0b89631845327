"""What the demo site says: a page made by JavaScript, an article, and a PDF of three pages."""

from __future__ import annotations

from typing import Final

_STYLE: Final = (
    "<style>body{font:16px/1.6 system-ui,sans-serif;max-width:42rem;margin:3rem auto;"
    "padding:0 1rem}</style>"
)

INDEX: Final = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Tidegate demo</title>{_STYLE}</head><body>
<h1>Tidegate demo</h1>
<p>Pages to try the gate with. They are served by this process, on a port of their own.</p>
<ul>
<li><a href="/app">/app</a>: says nothing until its JavaScript has run; try to render it</li>
<li><a href="/article">/article</a>: an article with headings and links; try to extract it</li>
<li><a href="/sample.pdf">/sample.pdf</a>: three pages with document information</li>
<li><a href="/slow?seconds=5">/slow?seconds=5</a>: answers late; try a time-out</li>
</ul></body></html>
"""

APP: Final = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Loading</title>{_STYLE}</head><body>
<main id="app">Loading</main>
<script>
const shares = [["acme", 3], ["globex", 2], ["initech", 1]];
const heading = document.createElement("h1");
heading.textContent = "Built by JavaScript";
const list = document.createElement("ul");
for (const [tenant, browsers] of shares) {{
  const item = document.createElement("li");
  item.textContent = `${{tenant}} holds ${{browsers}} of ${{shares.length * 2}} browsers`;
  list.append(item);
}}
document.getElementById("app").replaceChildren(heading, list);
document.title = "Built by JavaScript";
</script>
<noscript>This page needs JavaScript.</noscript>
</body></html>
"""

ARTICLE: Final = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<title>Why a gate needs leases</title>
<meta name="author" content="The Tidegate authors">
<meta name="description" content="A counter forgets who holds what. A lease does not.">
<meta name="keywords" content="admission control, lease, fencing token">
<meta property="og:title" content="Why a gate needs leases">
<meta property="og:type" content="article">
<link rel="canonical" href="/article">{_STYLE}</head><body>
<nav><a href="/">Demo</a> <a href="/app">App</a> <a href="/sample.pdf">PDF</a></nav>
<article>
<h1>Why a gate needs leases</h1>
<p>Every shared service has something that runs out: browsers, cores, memory, permits to a slow
neighbour. The first guard that anybody writes is a counter. It goes up when work begins and down
when work ends, and while it stands at the maximum, newcomers wait. On the day it is written it
works, and it goes on working until the first process dies in the middle of a job.</p>

<h2>What a counter forgets</h2>
<p>A counter knows how many, never who. When a worker is killed between the step up and the step
down, its unit is gone: nobody is left to give it back, and nobody can tell that it is missing. A
pool of three browsers becomes a pool of two, then of one, and some night the service refuses every
request while the machine sits idle. Restarting it helps, which is why the fault is seldom
found. What was lost was not memory or a handle but <em>knowledge</em>.</p>
<p>The usual repair makes it worse. A cleaning job looks for old entries and takes them away, but
age alone cannot tell a dead worker from a slow one. Take the unit from a slow one and two holders
believe that the same browser is theirs.</p>

<h2>What a lease adds</h2>
<p>A lease is a unit with a name and an end. It says who holds what, and until when. The holder
renews it while it lives; a holder that died does not, and at the end of the lease the gate takes
the unit back without asking anyone. Nothing has to be cleaned, because nothing was meant to last.
The price is small: one renewal every now and then, and a clock that all can agree on, which is the
clock of the store that keeps the leases.</p>
<p>Three rules make it sound:</p>
<ol>
<li>A lease is granted whole or not at all. Half of what a job needs is worth nothing to it and
blocks everybody else.</li>
<li>An expired lease never comes back to life. A holder that returns late is told that it lost, and
stops.</li>
<li>Each lease carries a number that only grows. Whatever the work touches can refuse a number
smaller than the last one it saw. Such a number is called a <strong>fencing token</strong>, and it
settles the quarrel between a slow worker and its successor.</li>
</ol>

<h2>How long should it be?</h2>
<p>Short leases give back quickly what the dead held, and cost more renewals; long ones are cheap
and leave a gap after every crash. A good beginning is the time you can bear to miss one unit,
renewed at a third of that, so that two renewals may fail before the third one matters. Work that
ends normally gives its lease back at once, and then the length does not matter at all.</p>

<h2>Try it</h2>
<p>Ask this demo to render <a href="/app">the page built by JavaScript</a> while another request
waits for <a href="/slow?seconds=5">a page that answers late</a>, and ask the service for its
resources meanwhile. Then kill a browser and count again: the number is right, because somebody
wrote down whose it was.</p>
</article>
</body></html>
"""

_PDF_PAGES: Final = (
    (
        "Tides and gates",
        "This document was written by the demo when it started.",
        "It has three pages, a title, an author, and nothing secret.",
        "A gate decides who may pass; a tide decides how many want to.",
    ),
    (
        "What is counted",
        "Rates come back with time, quotas with the turn of their period.",
        "Capacities come back when their holder lets go, or when its lease ends.",
        "A claim names all that one piece of work needs, and gets all of it or nothing.",
    ),
    (
        "What to try next",
        "Send this file to the PDF workload and compare the number of pages.",
        "Send a broken copy of it: the answer is an error, and the worker lives on.",
        "Send many at once: two are read at a time, the others wait their turn.",
    ),
)
_PDF_INFORMATION: Final = {
    "Title": "Tides and gates",
    "Author": "The Tidegate authors",
    "Subject": "A sample for the PDF workload",
    "Keywords": "demo, tidegate",
    "Creator": "tidegate serve --demo",
    "CreationDate": "D:20260101000000Z",
}


def sample_pdf() -> bytes:
    """A PDF 1.7 of three pages with document information.

    Written as plain objects, which needs no library: a catalog, the page tree, one font, the
    document information, then a page and its content for each.

    Source: ISO 32000-1, 7.5 (file structure) and 14.3.3 (document information dictionary).
    """
    first = 5
    numbers = range(first, first + 2 * len(_PDF_PAGES), 2)
    kids = " ".join(f"{number} 0 R" for number in numbers)
    information = " ".join(f"/{name} ({value})" for name, value in _PDF_INFORMATION.items())
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(_PDF_PAGES)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        f"<< {information} >>",
    ]
    for number, lines in zip(numbers, _PDF_PAGES, strict=True):
        objects += [
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] "
            f"/Resources << /Font << /F 3 0 R >> >> /Contents {number + 1} 0 R >>",
            _content(lines),
        ]
    return _file(objects)


def _content(lines: tuple[str, ...]) -> str:
    heading, *rest = lines
    shown = "\n".join(f"0 -22 Td ({line}) Tj" for line in rest)
    commands = f"BT /F 22 Tf 60 760 Td ({heading}) Tj /F 12 Tf 0 -18 Td\n{shown}\nET"
    return f"<< /Length {len(commands)} >>\nstream\n{commands}\nendstream"


def _file(objects: list[str]) -> bytes:
    """The objects, numbered from 1, with the table that says where each begins."""
    body, offsets = "%PDF-1.7\n", []
    for number, text in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{text}\nendobj\n"
    size = len(objects) + 1
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    trailer = f"trailer\n<< /Size {size} /Root 1 0 R /Info 4 0 R >>"
    end = f"startxref\n{len(body)}\n%%EOF\n"
    return f"{body}xref\n0 {size}\n0000000000 65535 f \n{table}{trailer}\n{end}".encode("ascii")
