"""The other sides: servers with the same engine inside, and the bare engine."""
