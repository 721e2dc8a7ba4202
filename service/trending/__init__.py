"""Popularity that moves: recent events of items, counted for less the older they are."""
