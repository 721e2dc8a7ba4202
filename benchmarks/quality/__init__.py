"""The quality of recommenders on public data, and the cost of training and explanations."""
