"""The bundle that the service would load."""

import os
import time
from collections.abc import Iterator

from bundle import read
from bundle.errors import BundleError, BundleMissingError
from files.errors import DimeRecError
from service.doctor.finding import Finding, fine, note, wrong
from service.rehearsal import rehearsed
from service.settings import Settings, variable

_PART = "bundle"


def examine_bundle(settings: Settings) -> Iterator[Finding]:
    """Load what CURRENT names, and let it answer some requests, as a start of the service does."""
    root = settings.bundles
    started = time.perf_counter()
    try:
        engine = rehearsed(read.read_bundle(root, None, settings.device))
    except BundleMissingError as error:
        yield wrong(_PART, str(error), f"`dimerec publish`, or name the directory in {variable('bundles')}")
        return
    except BundleError as error:
        yield wrong(_PART, str(error), "`dimerec bundles list` shows which are whole; `bundles use` one")
        return
    except (DimeRecError, OSError) as error:
        yield wrong(_PART, str(error), "as it says")
        return
    took = time.perf_counter() - started
    yield fine(
        _PART,
        f"{engine.version} is whole and answers: {len(engine):,} items, loaded and tried in {took:.1f} s",
    )
    older = [version for version in read.versions(root) if version < engine.version]
    if not older:
        yield note(_PART, "no older version is published, so there is nothing to roll back to", "keep some")
    if not os.access(root, os.W_OK):
        yield note(
            _PART,
            f"{root} cannot be written, so POST /admin/rollback is refused",
            "roll back with `dimerec bundles use --previous` and a reload, as somebody who may write",
        )
