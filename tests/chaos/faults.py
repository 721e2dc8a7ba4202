"""The table of all faults."""

from tests.chaos.bundle_faults import BUNDLE_FAULTS
from tests.chaos.catalogue_faults import CATALOGUE_FAULTS
from tests.chaos.fault import BOTH, Fault, nothing
from tests.chaos.redis_faults import REDIS_FAULTS
from tests.chaos.service_faults import SERVICE_FAULTS
from tests.chaos.topology_faults import TOPOLOGY_FAULTS

FAULTS = (
    Fault("none", nothing, workers=BOTH),
    *REDIS_FAULTS,
    *TOPOLOGY_FAULTS,
    *BUNDLE_FAULTS,
    *SERVICE_FAULTS,
    *CATALOGUE_FAULTS,
)
"""In the order of a run."""
