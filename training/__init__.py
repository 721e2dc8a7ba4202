"""Event log in, trained and evaluated model out."""
