"""The service beside its own past, its ideal and other servers, one core each: `make bench`."""
