"""One module for each group of calls of the REST contract."""
