"""Simple recommenders that a model has to beat, behind the same Scorer protocol."""
