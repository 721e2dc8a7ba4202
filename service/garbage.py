"""The garbage collector, kept away from what lives as long as the process.

A full collection looks at every object: 250,000 with the demo's bundle, of libraries for the most part. For
125 ms nothing is answered, and under load that cost a sixth of the throughput.
"""

import gc


def settle() -> None:
    """Collect once, and look at nothing that is left again; for the end of a start."""
    gc.collect()
    gc.freeze()


def settle_again() -> None:
    """As `settle` where it was called before, after what lives long has been replaced."""
    if gc.get_freeze_count():
        gc.unfreeze()
        settle()
