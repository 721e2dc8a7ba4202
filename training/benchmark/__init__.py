"""The benchmark: every recommender trained and measured by one harness, on the same data and protocol."""
