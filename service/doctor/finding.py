"""One result of the examination."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["fine", "note", "wrong"]
"""`note`: it works, and an operator may want to know."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A fact about a part of the installation, and what to do where it is not fine. Holds no secret."""

    part: str
    verdict: Verdict
    fact: str
    remedy: str = ""


def fine(part: str, fact: str) -> Finding:
    """Something in order."""
    return Finding(part, "fine", fact)


def note(part: str, fact: str, remedy: str) -> Finding:
    """Something that works, but perhaps not as meant."""
    return Finding(part, "note", fact, remedy)


def wrong(part: str, fact: str, remedy: str) -> Finding:
    """A fault: sooner or later requests suffer from it."""
    return Finding(part, "wrong", fact, remedy)
