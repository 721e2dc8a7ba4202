"""Variables of the environment that tell a peer what it serves."""

BUNDLES = "BENCH_BUNDLES"
"""A directory of bundles."""
DEVICE = "BENCH_DEVICE"
"""The device on which the model computes."""
CANNED = "BENCH_CANNED"
"""A directory with an answer for each k, `K.json`: what the floor sends."""
