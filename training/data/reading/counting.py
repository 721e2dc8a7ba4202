"""A second count of the records of a text, which shares nothing with what reads them."""

from dataclasses import dataclass


@dataclass
class Counter:
    """Counts records as RFC 4180 has them: a line feed ends one, except between quotes.

    Fed the whole text in chunks; `quoted` is the count if quotes quote, `lines` if they are literal.
    """

    lines: int = 0
    quoted: int = 0
    _between: bool = False
    _last: bytes = b"\n"

    def feed(self, chunk: bytes) -> None:
        """Count the line feeds of the next chunk."""
        pieces = chunk.split(b'"')
        self.lines += chunk.count(b"\n")
        self.quoted += b"".join(pieces[self._between :: 2]).count(b"\n")
        self._between ^= len(pieces) % 2 == 0
        self._last = chunk[-1:] or self._last

    def finish(self) -> None:
        """Count what follows the last line feed."""
        if self._last != b"\n":
            self.lines += 1
            self.quoted += 1
