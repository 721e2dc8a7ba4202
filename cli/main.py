"""The `dimerec` command: finds the subcommand, runs it, turns domain errors into one line.

A subcommand lives in a module of its own whose `command` is a function with typer annotations, or a
`typer.Typer` for a command with subcommands of its own. Only the module that was asked for is imported, so
`dimerec --help` starts fast and never loads torch; the summaries shown there stand in `COMMANDS`.
"""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version as installed_version
from typing import Annotated, NamedTuple, NoReturn

import typer
from typer.exceptions import TyperException

from cli.interrupts import NOTHING_WRITTEN, StoppedError
from cli.output import printable
from files.errors import DimeRecError

LEARN = "From an event log to a model"
PUBLISH = "Bundles"
SERVE = "Serving"

INTERRUPTED = 130
"""Exit code of a process that Ctrl-C ended, as shells have it."""


class Subcommand(NamedTuple):
    """Module of a subcommand, and its place and summary in `dimerec --help`."""

    module: str
    panel: str
    summary: str


COMMANDS = {
    "demo": Subcommand("cli.demo", LEARN, "Fetch, train, publish and serve MovieLens-100K."),
    "prepare": Subcommand("cli.prepare", LEARN, "Turn an event log into sequences and a data card."),
    "train": Subcommand("cli.train", LEARN, "Train a DimeRec model on prepared data."),
    "evaluate": Subcommand("cli.evaluate", LEARN, "Measure a model next to Popularity and ItemKNN."),
    "benchmark": Subcommand("cli.benchmark", LEARN, "Train and measure many recommenders alike."),
    "publish": Subcommand("cli.publish", PUBLISH, "Publish a trained model as a bundle."),
    "bundles": Subcommand("cli.bundles", PUBLISH, "List, verify and prune published bundles."),
    "recommend": Subcommand("cli.recommend", PUBLISH, "Recommend for one user or a whole file, offline."),
    "serve": Subcommand("cli.serve", SERVE, "Serve recommendations over HTTP."),
    "doctor": Subcommand("cli.doctor", SERVE, "Examine settings, bundle, Redis and machine."),
    "keys": Subcommand("cli.keys", SERVE, "Make, list and revoke API keys."),
    "catalogue": Subcommand("cli.catalogue", SERVE, "See, change and export the catalogue in service."),
    "import-history": Subcommand("cli.import_history", SERVE, "Load an event log into Redis."),
}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `dimerec` with `arguments` (default: the process's own) and exit.

    Exit codes: 0 done, 1 a domain error (one line on stderr), 2 a usage error, 130 interrupted.
    """
    # torch's threads spin while they wait for each other; where another process wants the core, that made a
    # training epoch ten times slower. OpenMP reads this when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        # Not standalone: typer would leave without a word on Ctrl-C, and frame a usage error in many lines.
        code = application(given)(given, prog_name="dimerec", standalone_mode=False)
    except TyperException as error:
        _fail(_usage(error), error.exit_code)
    except StoppedError as error:
        _fail(str(error), INTERRUPTED)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except OSError as error:
        _fail(f"{error.filename or 'input/output'}: {error.strerror or error}", 1)
    except DimeRecError as error:
        _fail(str(error), 1)
    if code == INTERRUPTED:
        _fail(f"interrupted; {NOTHING_WRITTEN}", INTERRUPTED)
    sys.exit(code)


def application(arguments: Sequence[str]) -> typer.Typer:
    """The typer application, with the one subcommand that `arguments` ask for imported."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    requested = next((argument for argument in arguments if argument in COMMANDS), None)
    for name, (module, panel, summary) in COMMANDS.items():
        command: Callable[..., None] | typer.Typer = _not_imported
        if name == requested:
            command = import_module(module).command
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, short_help=summary, rich_help_panel=panel)
        else:
            app.command(name, short_help=summary, rich_help_panel=panel)(command)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(installed_version("dimerec-serve"))
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit."),
    ] = False,
) -> None:
    """Candidate retrieval for short video: learn from an event log, publish a bundle, serve it.

    `dimerec demo` shows the whole path on public data. With a log of your own:

    - `dimerec prepare --events events.parquet --items items.csv --out data`

    - `dimerec train --data data --out run`

    - `dimerec evaluate --run run --data data`

    - `dimerec publish --run run --data data --bundles bundles`

    - `dimerec serve --bundles bundles`

    `dimerec COMMAND -h` explains a command by examples. Results go to stdout, `--json` makes them one JSON
    document; progress, notes and errors, one line each, go to stderr.
    """


def _not_imported() -> None:
    """Stand in for a subcommand that was not asked for."""


def _usage(error: TyperException) -> str:
    """The line for a usage error, naming the help; empty where the help itself was printed."""
    message, context = error.format_message().rstrip("."), getattr(error, "ctx", None)
    if not message or context is None:
        return message
    return f"{message} (see `{context.command_path} --help`)"


def _fail(message: str, code: int) -> NoReturn:
    if message:
        typer.echo(f"dimerec: {' '.join(printable(message).split())}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
