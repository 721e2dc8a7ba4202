"""Measurements: load, quality, training. Nothing of the product imports this."""
