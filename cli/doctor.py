"""`dimerec doctor`: what is wrong with an installation, in plain words."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from cli.output import Json, print_json, print_table, printable
from service.doctor.finding import Finding, Verdict, wrong
from service.errors import StartupError
from service.settings import read_settings
from service.tracing import check_propagators

_STYLES: dict[Verdict, str] = {"fine": "green", "note": "yellow", "wrong": "bold red"}


def command(
    bundles: Annotated[
        Path | None, typer.Option(help="Directory of published bundles. [default: DIMEREC_BUNDLES]")
    ] = None,
    redis: Annotated[
        str | None, typer.Option(metavar="URL", help="History store. [default: DIMEREC_REDIS_URL]")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: DIMEREC_HOST]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on. [default: DIMEREC_PORT]")] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Processes that answer. [default: DIMEREC_WORKERS]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Examine what `dimerec serve` would start with, and say what is wrong and what to do.

    Reads the settings as `serve` does, loads the bundle and lets it answer, asks Redis how it is set up and
    how long it takes, and looks at ports, open files, threads and packages. Run it where and as whom the
    service runs. No secret is shown, nothing is changed, and a running service is not disturbed.

        dimerec doctor --bundles bundles --redis redis://localhost:6379/0

    Exit code 0: nothing is wrong (notes do not count); 1: something is.
    """
    given = {"bundles": bundles, "redis_url": redis, "host": host, "port": port, "workers": workers}
    findings = list(_examined(given))
    is_fine = all(finding.verdict != "wrong" for finding in findings)
    if as_json:
        print_json({"fine": is_fine, "findings": findings})
    else:
        _print(findings)
    raise typer.Exit(0 if is_fine else 1)


def _examined(given: Mapping[str, object]) -> Iterator[Finding]:
    """All findings; without settings that can be read those about packages remain."""
    try:
        check_propagators()
    except StartupError as error:
        yield wrong("tracing", str(error), "as it says; until then nothing else can be examined")
        return
    from service.doctor.machine import examine_packages

    try:
        settings = read_settings(**given)
    except StartupError as error:
        yield wrong("configuration", str(error), "as it says; docs/configuration.md lists all settings")
        yield from examine_packages()
        return
    from service.doctor.examination import examine

    yield from examine(settings)


def _print(findings: Iterable[Finding]) -> None:
    rows = [
        (
            finding.part,
            Text(finding.verdict, _STYLES[finding.verdict]),
            printable(finding.fact),
            finding.remedy,
        )
        for finding in findings
    ]
    print_table(("part", "verdict", "fact", "remedy"), rows)
