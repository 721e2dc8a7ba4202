"""The root of all expected trouble.

```
DimeRecError
├── CheckpointError      model/checkpoint.py
├── IndexingError        index/errors.py
├── BundleError          bundle/errors.py
├── TrainingError        training/errors.py
├── ServiceError         service/errors.py
├── HistoryError         service/history/errors.py
└── StoppedError         cli/interrupts.py
```
"""

from collections.abc import Mapping, Sequence
from typing import Any


class DimeRecError(Exception):
    """Expected trouble; its message is one line that names the fault and the remedy."""


def field_path(location: Sequence[str | int]) -> str:
    """`("events", 0, "timestamp")` as `events[0].timestamp`; parts in parentheses are tags and no fields."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.startswith("("):
            path += f".{part}" if path else part
    return path


def first_fault(faults: Sequence[Mapping[str, Any]], whole: str) -> str:
    """The first of a validation's `faults`, as pydantic lists them, in words: `field: message`.

    `whole`: name of what was validated, for a fault of no field.
    """
    first = faults[0]
    message = first["msg"].removeprefix("Value error, ")
    return f"{field_path(first['loc']) or whole}: {message}"
