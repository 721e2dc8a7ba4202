"""The ground, for anybody to import: writing files, ids, the root of all errors. Standard library only."""
