"""The parts of the benchmark: each measures one thing in one run."""
