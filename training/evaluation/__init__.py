"""Held-out events ranked, and what is measured of the rankings."""
