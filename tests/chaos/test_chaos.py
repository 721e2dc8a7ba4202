"""The harness of `make chaos`: its proxy, its verdicts, and a few faults for real."""

import asyncio
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from benchmarks.documents.chaos_table import HELD, ChaosRow, chaos_table, read_rows
from model.checkpoint import CheckpointError
from tests.bundle.room import file_size
from tests.chaos.__main__ import chosen, keep, program, run
from tests.chaos.bundle_faults import ROOM, SMALL
from tests.chaos.catalogue_faults import remove_all
from tests.chaos.desk import Desk
from tests.chaos.fault import Fault, nothing
from tests.chaos.faults import FAULTS
from tests.chaos.load import Answer, Load, Plan, Report
from tests.chaos.measure import Times, row_of
from tests.chaos.proxy import Proxy
from tests.chaos.soak import Sample, unborne
from tests.chaos.soak import judged as judged_soak
from tests.chaos.stage import Stage, staged
from tests.factories import publish_tiny_bundle

TIMES = Times(injected=10.0, cleared=20.0)
USUAL = [Answer("recommend", 10 + step / 20, 0.01, "ok", 200) for step in range(400)]


async def echoing() -> tuple[asyncio.Server, int]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def test_the_proxy_passes_on_delays_stalls_cuts_and_resets() -> None:
    server, port = await echoing()
    proxy = Proxy()
    through = await proxy.start(port)
    reader, writer = await asyncio.open_connection("127.0.0.1", through)

    async def asked(words: bytes) -> bytes:
        writer.write(words)
        return await reader.read(100)

    assert await asked(b"plain") == b"plain"
    proxy.delay_s = 0.1
    began = time.monotonic()
    assert await asked(b"slow") == b"slow"
    assert time.monotonic() - began >= 0.1
    proxy.delay_s = 0.0
    await proxy.stall()
    waiting = asyncio.ensure_future(asked(b"held"))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await proxy.flow()
    assert await waiting == b"held"
    proxy.cuts = True
    assert await asked(b"half") == b"ha"
    assert await reader.read(100) == b""
    proxy.cuts = False
    writer.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", through)
    assert await asked(b"again") == b"again"
    await proxy.reset()
    with pytest.raises(ConnectionResetError):
        await reader.read(100)
    writer.close()
    await proxy.close()
    server.close()
    await asyncio.sleep(0)


def judged(fault: Fault, answers: list[Answer], **others: float) -> ChaosRow:
    found: dict[str, float] = {"events_lost": 0, "rss_ratio": 1.0} | others
    return row_of(fault, 1, 20.0, answers, TIMES, int(found["events_lost"]), found["rss_ratio"])


def test_what_is_as_usual_has_held() -> None:
    row = judged(Fault("none", nothing), USUAL)
    assert (row.requests, row.ok, row.verdict) == (400, 400, HELD)
    assert (row.p99_ms, row.p99_after_ms, row.recovery_s) == (10.0, 10.0, 0.0)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer("recommend", 12.0, 0.01, "error", 500), "1 answers of 5xx"),
        (Answer("recommend", 12.0, 0.01, "broken"), "1 unanswered"),
        (Answer("recommend", 12.0, 0.01, "wrong", 200), "1 answers are not of the version"),
        (Answer("recommend", 24.0, 0.01, "refused", 503), "recovery after"),
    ],
)
def test_each_thing_that_must_not_be_is_named(answer: Answer, words: str) -> None:
    row = judged(Fault("x", nothing), [*USUAL, answer])
    assert (words in row.verdict) or (words in row.remark)


@pytest.mark.parametrize(
    ("others", "words"),
    [({"events_lost": 2}, "2 events lost"), ({"rss_ratio": 1.2}, "RSS 1.2 ×")],
)
def test_lost_events_and_memory_are_named(others: dict[str, float], words: str) -> None:
    assert words in judged(Fault("x", nothing), USUAL, **others).verdict


def test_slow_answers_and_a_circuit_that_stays_closed_are_named() -> None:
    slow = [Answer("recommend", one.at, 1.2, "degraded", 200) for one in USUAL if one.at < TIMES.cleared]
    usual = [one for one in USUAL if one.at >= TIMES.cleared]
    verdict = judged(Fault("x", nothing, opens=True), [*slow, *usual]).verdict
    assert verdict == "p99 above the deadline; the circuit did not open"


def test_rows_replace_those_of_the_same_fault_and_are_shown(tmp_path: Path) -> None:
    out = tmp_path / "chaos.json"
    row = judged(FAULTS[0], USUAL)
    other = row.model_copy(update={"fault": FAULTS[1].name})
    for one in (other, row, row.model_copy(update={"ok": 1})):
        keep(out, one)
    assert [(one.fault, one.ok) for one in read_rows(out)] == [(FAULTS[0].name, 1), (FAULTS[1].name, 400)]
    assert "| none | 1 | 400 | 1 |" in chaos_table(read_rows(out))


def test_a_soak_that_was_too_much_for_the_machine_says_so() -> None:
    assert unborne({"ok": 900, "degraded": 90, "refused": 10}) == []
    assert unborne({"ok": 480, "degraded": 20, "refused": 450, "unanswered": 50}) == [
        "50.0% had no answer: no load of 70%"
    ]


def test_what_grows_in_a_soak_is_named() -> None:
    samples = [Sample(seconds=n, rss_bytes=1000 + n, descriptors=20, threads=4) for n in range(60)]
    assert judged_soak(samples) == ["rss_bytes grew from 1012 to 1057"]
    assert judged_soak([one.model_copy(update={"rss_bytes": 1000}) for one in samples]) == []


def test_a_report_reads_as_it_was_written(tmp_path: Path) -> None:
    late = Answer("events", 11.0, 0.5, "ok", 200, 0.2)
    Report([*USUAL, late], {("u", 1): 11.5}).write(tmp_path / "report")
    read = Report.read(tmp_path / "report")
    assert (read.answers, read.acknowledged) == ([*USUAL, late], {("u", 1): 11.5})
    assert judged(Fault("x", nothing), [late] * 5).late_ms == 200.0


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """Of a listener that accepts nothing: one connection or two open, the others try on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        yield listener.getsockname()[1]


@pytest.mark.parametrize(("rate", "connections"), [(0.0, 20), (200.0, 4)])
async def test_requests_that_get_no_connection_are_unanswered_and_late(
    deaf_port: int, monkeypatch: pytest.MonkeyPatch, rate: float, connections: int
) -> None:
    monkeypatch.setattr("tests.chaos.load._DRAIN_S", 0.1)
    bodies, items = ["{}"], ["1"]
    load = Load(Plan(deaf_port, "deaf", rate, bodies, items, catalogues={}, connections=connections))
    asyncio.get_running_loop().call_later(0.2, load.stop)
    await load.run()
    answers = load.report.answers
    assert len(answers) == load.started >= connections
    assert {one.outcome for one in answers} == {"unanswered"}
    assert sum(one.late_s >= 0.1 for one in answers) >= len(answers) - 2
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize(
    ("limit", "words"),
    [(ROOM[0], "cannot write the model"), (ROOM[1], "writing bytes"), (ROOM[2], "writing bytes")],
)
def test_a_full_disk_meets_the_model_then_the_catalogue(tmp_path: Path, limit: int, words: str) -> None:
    items, dim, hidden = SMALL
    with pytest.raises((CheckpointError, OSError), match=words), file_size(limit):
        publish_tiny_bundle(tmp_path, items=items, dim=dim, hidden=hidden, max_length=50, timesteps=16)


def test_an_unknown_fault_is_refused_by_name() -> None:
    refused = CliRunner().invoke(program, ["--only", "none,meteor"])
    assert refused.exit_code == 2
    assert "meteor" in refused.output


def test_the_memory_of_a_fault_of_its_own_is_not_that_of_the_next(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 1)
    stage.usual_bytes, stage.warm_bytes = 500, 700
    stage.forget_notes()
    assert stage.warm_bytes == 500
    stage.redis.close()
    stage.loop.close()


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Stage]]:
    with (
        staged(tmp_path_factory.mktemp("one"), 1) as one,
        staged(tmp_path_factory.mktemp("two"), 2) as two,
    ):
        yield {1: one, 2: two}


@pytest.mark.smoke
@pytest.mark.parametrize("name", ["sentinel-asked", "cluster-slots"])
def test_servers_of_a_fault_that_did_not_end_them_end_with_the_stage(tmp_path: Path, name: str) -> None:
    before = set(psutil.Process().children())
    with staged(tmp_path, 1) as stage:
        chosen(name)[0].before(stage)
    assert set(psutil.Process().children()) <= before


@pytest.mark.smoke
def test_a_few_faults_for_real(stages: dict[int, Stage]) -> None:
    rows = [
        *run(stages[1], chosen("redis-killed,redis-hangs,redis-resets,redis-cut,header-drip-300"), part=0.2),
        *run(stages[2], [*chosen("worker-killed"), few_removals()], part=0.2),
    ]
    for row in rows:
        assert row.ok, row
        assert (row.errors_5xx, row.events_lost) == (0, 0), row
        assert "not of the version" not in row.verdict, row
        assert "remov" not in row.verdict, row
        assert "puts lost" not in row.verdict, row


def few_removals() -> Fault:
    """The last one on its stage, where it leaves its changes."""
    desk = Desk(200)

    def put_all(stage: Stage) -> None:
        desk.come(stage)
        desk.put_many(desk.new)
        desk.wait_for_all()

    def judge(_: Stage, report: Report) -> None:
        desk.judge_now(report)
        desk.close()

    inject = partial(remove_all, desk, bundled=100)
    return Fault("catalogue-removals", inject, seconds=0.0, judge=judge, before=put_all)
