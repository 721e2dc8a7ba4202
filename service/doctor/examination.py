"""All parts of the examination, in the order in which a service meets them."""

from collections.abc import Iterator

from service.doctor.bundles import examine_bundle
from service.doctor.configuration import examine_configuration
from service.doctor.finding import Finding
from service.doctor.machine import (
    address_of,
    examine_open_files,
    examine_packages,
    examine_ports,
    examine_spool,
    examine_threads,
)
from service.doctor.redis import examine_redis
from service.doctor.tracing import examine_tracing
from service.settings import Settings


def examine(settings: Settings) -> Iterator[Finding]:
    """Findings about a service of these settings; nothing is changed but a key in Redis, for an instant."""
    yield from examine_configuration(settings, address_of(settings.host))
    yield from examine_bundle(settings)
    yield from examine_redis(settings)
    yield from examine_spool(settings)
    yield from examine_ports(settings)
    yield from examine_open_files(settings)
    yield from examine_threads(settings)
    yield from examine_tracing()
    yield from examine_packages()
