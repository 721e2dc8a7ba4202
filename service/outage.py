"""A fault that may last: logged when it begins, and again only after it was over in between."""

from structlog.typing import FilteringBoundLogger


class Outage:
    """One fault, which `event` names in the lines of `log`."""

    def __init__(self, log: FilteringBoundLogger, event: str) -> None:
        self._log = log
        self._event = event
        self.lasts = False

    def note(self, **facts: object) -> None:
        """Note that the fault is there, still or since now."""
        if not self.lasts:
            self._log.warning(self._event, **facts)
        self.lasts = True

    def end(self) -> None:
        """Note that there is no fault."""
        self.lasts = False
