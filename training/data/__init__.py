"""An event log in any common file, prepared, counted and split."""
