"""What a worker says about a document, and what the service makes of it, without a process."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from tests import pdf_samples as samples
from tidegate.adapters.pdfium import document, frames, worker
from tidegate.adapters.pdfium.assembly import Assembly
from tidegate.adapters.pdfium.frames import Done, Job, Opened, Ready, Refused, Reply, Text
from tidegate.entrypoints.demo_pages import sample_pdf
from tidegate.errors import DocumentUnreadable
from tidegate.ports.pdf_reader import PdfDocument

OPENED = Opened(page_count=1, metadata={})


def read(data: bytes) -> PdfDocument:
    assembly = Assembly()
    for reply in worker.answer(data):
        if (result := assembly.add(frames.unpack_reply(frames.pack(reply)[4:]))) is not None:
            return result
    raise AssertionError("the answer has no end")


def test_a_document_is_read_page_by_page() -> None:
    result = read(sample_pdf())
    assert [page.splitlines()[0] for page in result.pages] == [
        "Tides and gates",
        "What is counted",
        "What to try next",
    ]
    assert result.pages[0].splitlines()[-1].endswith("how many want to.")
    assert result.metadata == {
        "Title": "Tides and gates",
        "Author": "The Tidegate authors",
        "Subject": "A sample for the PDF workload",
        "Keywords": "demo, tidegate",
        "Creator": "tidegate serve --demo",
        "CreationDate": "D:20260101000000Z",
    }


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        pytest.param("a\r\nb\rc\fd\u2028e", "a\nb\nc\nd\ne", id="one kind of line end"),
        pytest.param("exam\ufffeple", "example", id="a hyphen at the end of a line"),
        pytest.param("a\x00\x07\x7f\x9f\uffffb\tc", "ab\tc", id="control characters"),
        pytest.param("a\ud800b\udfffc\U0001f600", "abc\U0001f600", id="unpaired surrogates"),
    ],
)
def test_normalise(raw: str, text: str) -> None:
    assert document.normalise(raw) == text


@pytest.mark.parametrize(
    ("data", "pages"),
    [
        pytest.param(samples.says(b""), ("",), id="an empty page"),
        pytest.param(samples.pages(samples.stream(b""), kids=3), ("",) * 3, id="three of them"),
        pytest.param(
            samples.mapped({"A": "d83dde00", "B": "d800", "C": "0000"}, b"xAyBzCw"),
            ("x\U0001f600yzw",),
            id="code units that are no text",
        ),
        pytest.param(
            samples.pages(samples.stream(b"BT /F 12 Tf 72 700 Td (exam-) Tj 0 -14 Td (ple) Tj ET")),
            ("example",),
            id="a word over two lines",
        ),
        pytest.param(
            samples.says(b"w" * 30_000), ("w" * 30_000,), id="more than fits the page's width"
        ),
    ],
)
def test_texts(data: bytes, pages: tuple[str, ...]) -> None:
    assert read(data).pages == pages


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "not a PDF", id="nothing"),
        pytest.param(b"<html>hello</html>", "not a PDF", id="something else"),
        pytest.param(samples.encrypted(), "encrypted with a password", id="a password"),
        pytest.param(
            samples.says(b"x", trailer=b"/Encrypt << /Filter /Own /V 1 /R 2 /P -4 >>"),
            "encrypted in a way",
            id="an encryption of its own",
        ),
        pytest.param(
            samples.pages(samples.stream(b""), count=5), "page 2 .* damaged", id="missing pages"
        ),
        pytest.param(
            samples.pages(samples.stream(b""), kids=2_001), "2,001 pages, 1 to 2,000", id="pages"
        ),
        pytest.param(
            samples.document([b"<< /Type /Catalog >>"]), "has 0 pages", id="a catalog without pages"
        ),
    ],
)
def test_unreadable(data: bytes, reason: str) -> None:
    with pytest.raises(DocumentUnreadable, match=reason):
        read(data)


@pytest.mark.parametrize(
    ("limit_bytes", "fits"),
    [
        pytest.param(60, True, id="three pages of ten letters, two bytes each"),
        pytest.param(59, False, id="one byte less"),
        pytest.param(9, False, id="less than the letters of one page"),
    ],
)
def test_text_is_limited(monkeypatch: pytest.MonkeyPatch, limit_bytes: int, fits: bool) -> None:
    monkeypatch.setattr(document, "TEXT_BYTES_MAX", limit_bytes)
    data = samples.mapped({"A": "00e9"}, b"A" * 10).replace(b"[3 0 R ]", b"[3 0 R 3 0 R 3 0 R]")
    data = data.replace(b"/Count 1", b"/Count 3")
    if fits:
        assert read(data).pages == ("é" * 10,) * 3
    else:
        with pytest.raises(DocumentUnreadable, match="more text"):
            read(data)


def test_metadata_is_cleaned() -> None:
    information = (
        b"<< /Title <FEFFD83DDE00000D000A0041> /Author <FEFFD800> /Subject (  )"
        b" /Keywords (%s) /Own (value) >>" % (b"k" * 5_000)
    )
    page = samples.pages(samples.stream(b""), trailer=b"/Info 6 0 R", more=(information,))
    # An author that is no text at all is left out rather than failing the document.
    assert read(page).metadata == {"Title": "\U0001f600\nA", "Keywords": "k" * 4_096}


def test_a_page_of_any_length_goes_in_small_frames() -> None:
    lines = b"(abcdefghijklmnopqrstuvwxyz0123456789) Tj 0 -12 Td " * 4_000
    replies = list(
        worker.answer(samples.pages(samples.stream(b"BT /F 1 Tf 10 0 Td " + lines + b"ET")))
    )
    pieces = [reply for reply in replies if isinstance(reply, Text)]
    assert len(pieces) > 2
    assert [piece.ends_page for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert max(len(frames.pack(piece)) for piece in pieces) <= frames.FRAME_BYTES_MAX
    assert "".join(piece.text for piece in pieces).count("abcdefghijklmnopqrstuvwxyz") == 4_000


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(MemoryError(), "more memory", id="memory"),
        pytest.param(RecursionError(), r"cannot be read \(RecursionError\)", id="a fault of ours"),
    ],
)
def test_the_worker_outlives_errors(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(document.Document, "metadata", fail)
    with pytest.raises(DocumentUnreadable, match=reason):
        read(sample_pdf())


def test_serve_answers_until_the_jobs_end() -> None:
    data, armed = sample_pdf(), list[int]()
    jobs = b"".join(frames.pack(Job(size_bytes=len(each), cpu_s=7)) + each for each in (data, b"x"))
    out = io.BytesIO()
    worker.serve(io.BytesIO(jobs), out, arm=armed.append)
    kinds, stream = list[type](), io.BytesIO(out.getvalue())
    while prefix := stream.read(4):
        kinds.append(type(frames.unpack_reply(stream.read(frames.body_bytes(prefix)))))
    assert kinds == [Ready, Opened, Text, Text, Text, Done, Refused]
    assert armed == [7, 7]


@pytest.mark.parametrize(
    "replies",
    [
        pytest.param([Ready(uid=1)], id="a second greeting"),
        pytest.param([Text(text="a", ends_page=True)], id="text before the document is open"),
        pytest.param([Done()], id="an end before the beginning"),
        pytest.param([OPENED, OPENED], id="opened twice"),
        pytest.param([OPENED, Done()], id="too few pages"),
        pytest.param([OPENED, *[Text(text="a", ends_page=True)] * 2], id="too many pages"),
        pytest.param([OPENED, Text(text="", ends_page=False)], id="an endless page of nothing"),
        pytest.param([Opened(page_count=1, metadata={"Own": "a"})], id="invented metadata"),
    ],
)
def test_an_answer_out_of_turn_is_refused(replies: list[Reply]) -> None:
    assembly = Assembly()
    for reply in replies[:-1]:
        assert assembly.add(reply) is None
    with pytest.raises(ValueError, match=r"out of turn|empty piece"):
        assembly.add(replies[-1])


def test_more_text_than_allowed_is_refused() -> None:
    assembly = Assembly()
    assembly.add(OPENED)
    piece = Text(text="x" * frames.PIECE_CHARS_MAX, ends_page=False)
    for _ in range(frames.TEXT_BYTES_MAX // frames.PIECE_CHARS_MAX):
        assert assembly.add(piece) is None
    with pytest.raises(ValueError, match="more text"):
        assembly.add(Text(text="x", ends_page=False))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xc1", id="no msgpack"),
        pytest.param(b"\x81\xa4type\xa3Job", id="not a reply"),
        pytest.param(frames.pack(Opened(page_count=2_001, metadata={}))[4:], id="pages"),
        pytest.param(
            frames.pack(Opened(page_count=1, metadata={"Title": "x" * 4_097}))[4:], id="metadata"
        ),
        pytest.param(frames.pack(Text(text="x" * 65_537, ends_page=True))[4:], id="a long piece"),
        pytest.param(frames.pack(Refused(reason="x" * 501))[4:], id="a long reason"),
        pytest.param(b"\x82\xa4type\xa7Refused\xa6reason\xa3\xed\xa0\x80", id="a lone surrogate"),
    ],
)
def test_a_frame_that_is_no_reply(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the text belongs to the decoder
        frames.unpack_reply(body)


@pytest.mark.parametrize(
    "make",
    [lambda: frames.body_bytes(b"\xff\xff\xff\xff"), lambda: frames.body_bytes(b"\x01\0\0\0")],
)
def test_a_frame_too_long(make: Callable[[], int]) -> None:
    with pytest.raises(ValueError, match="a frame of"):
        make()
