"""What recommenders reach on public data, and what training and explanations cost."""
