"""What is measured: load, quality, training. Nothing of the product imports this."""
