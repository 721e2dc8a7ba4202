"""The parts of the documents that are made and not written: `make documents`."""
