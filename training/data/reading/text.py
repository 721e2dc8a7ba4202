"""Text as chunks of UTF-8, whatever it was compressed by and encoded in."""

import codecs
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, Literal

import pyarrow as pa

from training.data.reading.signatures import (
    GZIP,
    PARQUET,
    UTF8_MARK,
    UTF16_MARKS,
    ZSTD,
    refuse_binary,
    refuse_others,
)
from training.data.reading.sources import Source, explaining
from training.errors import DataError

Compression = Literal["gzip", "zstd"]
Encoding = Literal["UTF-8", "UTF-16"]

CHUNK_BYTES = 1 << 22
"""A bound on memory: text is read and decoded in pieces of 4 MiB."""
AS_UTF8 = "convert it, e.g. iconv -f latin1 -t utf-8"

HEAD_BYTES = 1 << 18
"""The part of a file that tells its layout; its header must fit: ten thousand names of 25 characters do."""


@dataclass(frozen=True)
class Text:
    """A text file whose compression and encoding are known."""

    source: Source
    compression: Compression | None
    encoding: Encoding

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        return self.source.name

    def chunks(self, size: int = CHUNK_BYTES) -> Iterator[bytes]:
        """Yield the text from its beginning as UTF-8 without a mark, in pieces of about `size` bytes.

        Raises DataError where the file is damaged.
        """
        with explaining(self.name, self.compression or "text"), self.source.path.open("rb") as file:
            unpacked = _unpacked(file, self.compression, size)
            yield from _in_utf16(unpacked) if self.encoding == "UTF-16" else _without_mark(unpacked)

    def head(self) -> bytes:
        """The first HEAD_BYTES or more; all of a shorter file."""
        head = b""
        for chunk in self.chunks(HEAD_BYTES):
            head += chunk
            if len(head) >= HEAD_BYTES:
                break
        return head


def compression_of(head: bytes) -> Compression | None:
    """The compression of the file that begins with `head`."""
    if head.startswith(GZIP):
        return "gzip"
    return "zstd" if head.startswith(ZSTD) else None


def open_text(source: Source, head: bytes) -> Text:
    """Tell the compression and the encoding of the file that begins with `head`.

    Raises DataError where there is no text in it, by the name of what there is.
    """
    compression = compression_of(head)
    if compression is not None:
        with explaining(source.name, compression), source.path.open("rb") as file:
            head = b"".join(islice(_unpacked(file, compression, HEAD_BYTES), 1))
        if inner := compression_of(head):
            raise DataError(f"{source.name} is {inner} inside {compression}; unpack it once")
        if head.startswith(PARQUET):
            raise DataError(
                f"{source.name} is Parquet inside {compression}; unpack it, Parquet is compressed itself"
            )
    refuse_others(source.name, head)
    text = Text(source, compression, "UTF-16" if head.startswith(UTF16_MARKS) else "UTF-8")
    decoded = text.head()
    if not decoded.strip():
        raise DataError(f"{source.name} is empty; it needs a header line and rows")
    refuse_binary(source.name, decoded)
    return text


def _unpacked(file: BinaryIO, compression: Compression | None, size: int) -> Iterator[bytes]:
    reader: BinaryIO | gzip.GzipFile = file
    if compression == "gzip":
        reader = gzip.GzipFile(fileobj=file)
    elif compression == "zstd":
        reader = pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd")
    while chunk := reader.read(size):
        yield chunk


def _without_mark(chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield next(chunks, b"").removeprefix(UTF8_MARK)
    yield from chunks


def _in_utf16(chunks: Iterator[bytes]) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder("utf-16")()
    for chunk in chunks:
        yield decoder.decode(chunk).encode()
    yield decoder.decode(b"", final=True).encode()
