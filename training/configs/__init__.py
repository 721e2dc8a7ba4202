"""Training configurations for public data sets, as used by the demo and the documentation."""
