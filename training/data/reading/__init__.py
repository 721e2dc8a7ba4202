"""The physical side of reading the caller's tables: paths, formats, records; every record of them counted."""
