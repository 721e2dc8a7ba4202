"""Load on a running service. Nothing of the product imports this."""
