"""One who changes the catalogue while the service is asked, and keeps in mind what was acknowledged."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from math import inf
from threading import Event
from typing import Any
from urllib.parse import quote

import httpx

from service.catalogue.redis import KEYS
from service.catalogue.view import FILE
from tests.chaos.load import Report
from tests.chaos.stage import SIZES, Stage
from tests.factories import CATEGORIES, make_catalogue
from tests.service.processes import until
from tests.service.serving import AUTHORIZED

CALLERS = 4
"""That change something one after the other. Chosen: as a desk or two would, and their programs."""
MANY_CALLERS = 32
"""That remove at once. Chosen: some hundred removals a second, each of which waits for all processes."""
SPREAD_S = 1.0
"""From the acknowledgement of a removal until no process names it: as promised."""
_A_CALL = 1000
_PAUSE_S = 0.05
_MARKER = "marker"
"""An item that is put when nothing else may be changed, to learn that all before it counts everywhere."""
_USUAL = {"PUT 200", "DELETE 200", "POST 200", "PUT 503", "DELETE 202", "PUT broken", "DELETE broken"}


class Desk:
    """Changes the catalogue of a stage: puts the items `new`, and removes some of them and of the bundle's.

    `begin` and `end` are what a fault does before and after the load. Methods may be called from any thread.
    """

    def __init__(self, items: int) -> None:
        catalogue = make_catalogue(*SIZES[0])
        rows = zip(catalogue.item_ids, catalogue.popularity, strict=True)
        self.bundled = [item_id for item_id, events in rows if events]
        """Items that the bundle has learned: a new one is like the one in its place."""
        self.new = [f"new-{number}" for number in range(items)]
        self._bodies = {item_id: self._body(number) for number, item_id in enumerate([*self.new, _MARKER])}
        self._stage: Stage
        self._client: httpx.Client
        self.variables: Mapping[str, str] = {}
        """Of the service's environment, where the fault needs some."""

    def begin(self, stage: Stage) -> None:
        """Put all new items, and find out what the service can do with them."""
        self.come(stage)
        self.put_many(self.new)
        self.wait_for_all()
        stage.saturate()
        stage.warm_bytes = stage.usual_bytes

    def come(self, stage: Stage) -> None:
        """Begin to count, and let the load know of the new items."""
        self._stage, self._client = stage, httpx.Client(base_url=stage.url, headers=AUTHORIZED, timeout=30)
        self._usual = stage.saturated, stage.usual_bytes
        for catalogue in stage.catalogues.values():
            catalogue.update({item_id: body["categories"] for item_id, body in self._bodies.items()})
        self._forget_notes()

    def begin_without(self, stage: Stage) -> None:
        """The same, and then take them all away again."""
        self.begin(stage)
        self._forget_notes()
        self._forget_changes(stage)

    def end(self, stage: Stage) -> None:
        """Leave the stage as it was, with a service that starts anew."""
        for catalogue in stage.catalogues.values():
            for item_id in self._bodies:
                del catalogue[item_id]
        self._forget_changes(stage)
        self.close()
        stage.saturated, stage.usual_bytes = self._usual

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def _forget_notes(self) -> None:
        self.put_ones: set[str] = set()
        self.removed: dict[str, float] = {}
        """Item → the moment from which on no request may be answered with it; inf: not known yet."""
        self.statuses: Counter[str] = Counter()

    def _forget_changes(self, stage: Stage) -> None:
        stage.end()
        stage.ask_redis("DEL", *KEYS)
        (stage.root / FILE).unlink(missing_ok=True)
        stage.serve()

    def put(self, item_id: str, **more: object) -> str:
        """Put an item; returns what came of it, as it is counted."""
        outcome = self._asked("PUT", item_id, json=self._bodies[item_id] | more)
        if outcome == "PUT 200":
            self.put_ones.add(item_id)
            self.removed.pop(item_id, None)
        return outcome

    def put_many(self, item_ids: Sequence[str], **more: object) -> None:
        """Put items, a thousand a call, one call after the other."""
        for start in range(0, len(item_ids), _A_CALL):
            some = item_ids[start : start + _A_CALL]
            items = [{"item_id": item_id, **self._bodies[item_id], **more} for item_id in some]
            answer = self._client.post("/items", json={"items": items})
            self.statuses[f"POST {answer.status_code}"] += 1
            put = [one["item_id"] for one in answer.json().get("items", ()) if "sequence" in one]
            self.put_ones.update(put)
            if len(put) < len(some):
                self._stage.findings.append(f"{len(some) - len(put)} of {len(some)} in a call were not put")

    def remove(self, item_id: str, *, everywhere: bool = False) -> str:
        """Remove an item; returns what came of it, as it is counted. `everywhere`: wait for all processes."""
        answer = self._sent("DELETE", item_id, params={"wait": "all"} if everywhere else {})
        outcome = self._counted("DELETE", answer)
        if answer is not None and answer.is_success:
            alone = self._stage.workers == 1 or answer.json()["effective"] == "everywhere"
            since = time.monotonic() + (0.0 if alone else SPREAD_S)
            self.removed[item_id] = since if alone or outcome == "DELETE 200" else inf
        else:
            self.put_ones.discard(item_id)  # it may be there, or not
        return outcome

    def remove_many(self, item_ids: Sequence[str]) -> None:
        """Remove items by many callers at once, each of whom waits for all processes."""
        with ThreadPoolExecutor(MANY_CALLERS) as callers:
            list(callers.map(lambda item_id: self.remove(item_id, everywhere=True), item_ids))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Put and remove, one after the other, while the block lasts."""
        over = Event()
        with ThreadPoolExecutor(CALLERS) as callers:
            working = [callers.submit(self._work, number, over) for number in range(CALLERS)]
            try:
                yield
            finally:
                over.set()
            for one in working:
                one.result()

    def told(self, moment: float) -> None:
        """Let removals of which only one process knew count from then on."""
        self.removed |= {item_id: moment for item_id, since in self.removed.items() if since == inf}

    def wait_for_all(self) -> None:
        """Wait until all that was changed counts in every process."""
        until(self._is_everywhere)

    def judge(self, stage: Stage, report: Report) -> None:
        """Judge the answers, what the service has now, and what it has from Redis alone."""
        self.judge_now(report)
        stage.end()
        (stage.root / FILE).unlink()
        stage.serve(**self.variables)
        self.compare(" in Redis")

    def judge_now(self, report: Report) -> None:
        """Judge the answers, and what the service has now."""
        self.judge_answers(report)
        self.wait_for_all()
        self.compare("")

    def judge_answers(self, report: Report) -> None:
        """Note what was named though it was removed, and changes that were answered as none should be."""
        late = [item_id for item_id, since in self.removed.items() if report.named.get(item_id, 0.0) > since]
        before = len(report.named.keys() & self.removed.keys())
        self._stage.remarks.append(
            f"{len(self.put_ones)} put, {len(self.removed)} removed, {before} of these named before,"
            f" {len(late)} leaks"
        )
        self._stage.findings += [f"{len(late)} named after their removal"] if late else []
        self._stage.findings += [f"{n} × {what}" for what, n in self.statuses.items() if what not in _USUAL]

    def compare(self, where: str) -> None:
        """Note what the service lacks of that which was acknowledged."""
        lost = self.put_ones - self.removed.keys() - set(self._listed("overlay"))
        returned = self.removed.keys() - set(self._listed("removed"))
        self._stage.findings += [f"{len(lost)} puts lost{where}"] if lost else []
        self._stage.findings += [f"{len(returned)} removals lost{where}"] if returned else []

    def _listed(self, source: str) -> Iterator[str]:
        after: dict[str, str] = {}
        while True:
            page = self._client.get("/items", params={"source": source, "limit": 1000, **after})
            yield from (item["item_id"] for item in page.raise_for_status().json()["items"])
            if page.json()["after"] is None:
                return
            after = {"after": page.json()["after"]}

    def _work(self, number: int, over: Event) -> None:
        bundled = islice(self.bundled, number, None, CALLERS)
        for step, item_id in enumerate(islice(self.new, number, None, CALLERS)):
            if over.is_set():
                return
            outcomes = [self.put(item_id)]
            if step % 3 == 0:
                outcomes.append(self.remove(item_id))
            elif step % 6 == 1:
                outcomes.append(self.remove(next(bundled)))
            if any(one.endswith("broken") for one in outcomes):
                time.sleep(_PAUSE_S)

    def _is_everywhere(self) -> bool:
        answer = self._sent("PUT", _MARKER, params={"wait": "all"}, json=self._bodies[_MARKER])
        return answer is not None and answer.is_success and answer.json()["effective"] == "everywhere"

    def _asked(self, method: str, item_id: str, **more: object) -> str:
        return self._counted(method, self._sent(method, item_id, **more))

    def _sent(self, method: str, item_id: str, **more: object) -> httpx.Response | None:
        """The answer; None where the connection was refused or broke."""
        try:
            return self._client.request(method, f"/items/{quote(item_id)}", **more)  # type: ignore[arg-type]
        except httpx.TransportError:
            return None

    def _counted(self, method: str, answer: httpx.Response | None) -> str:
        words = f"{method} {'broken' if answer is None else answer.status_code}"
        if answer is not None and answer.status_code == 503 and "retry-after" not in answer.headers:
            words += " without Retry-After"
        self.statuses[words] += 1
        return words

    def _body(self, number: int) -> dict[str, Any]:
        like = self.bundled[number % len(self.bundled)]
        categories = [CATEGORIES[number % len(CATEGORIES)]]
        return {"title": f"New {number}", "categories": categories, "from": {"like": [like]}}
