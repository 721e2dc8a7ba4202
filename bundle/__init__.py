"""The one format that training writes and the service reads: a directory, immutable once published."""
