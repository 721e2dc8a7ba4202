"""Recommenders of other projects, in environments of their own, measured by the protocol of the benchmark."""
