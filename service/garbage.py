"""The garbage collector, kept away from what lives as long as the process.

A full collection looks at every object: 250,000 with the demo's bundle, of libraries for the most part. For
125 ms nothing is answered, and under load that cost a sixth of the throughput. Even without those it takes
10 to 20 ms where hundreds of requests wait, and finds nothing: what a request leaves behind holds no circles.
"""

import gc

FULL_EVERY = 100
"""Chosen: so many collections of what is not quite new for a full one; Python's own number is 10."""


def settle() -> None:
    """Collect once, and look at nothing that is left again; for the end of a start."""
    new, newer, _ = gc.get_threshold()
    gc.set_threshold(new, newer, FULL_EVERY)
    gc.collect()
    gc.freeze()


def settle_again() -> None:
    """As `settle` where it was called before, after an engine has been replaced: the libraries stay frozen.

    The old engine needs no collection, since nothing of it is a circle.
    """
    if gc.get_freeze_count():
        settle()
