"""Everything that can go wrong with an index, as one tree.

IndexingError
├── VectorError          vectors, queries or rows of a wrong shape, length or value
├── IndexFileError       a file of vectors or of an index that is not the one expected
├── CatalogueError       an item table that is missing, damaged or inconsistent
├── QueryError           a retrieval query outside its bounds
├── GpuUnavailableError  a GPU index was asked for where none can be made
└── FaissMissingError    FAISS cannot be imported: the extra that brings it is not installed
"""

from files.errors import DimeRecError


class IndexingError(DimeRecError):
    """Base of all errors raised by `index`; its text is one line that names the remedy."""


class VectorError(IndexingError):
    """Vectors, queries or rows have a wrong shape, length or value."""


class IndexFileError(IndexingError):
    """A file of vectors or of an index is not the one expected."""


class CatalogueError(IndexingError):
    """An item table is missing, damaged or inconsistent."""


class QueryError(IndexingError):
    """A retrieval query is outside its bounds."""


class GpuUnavailableError(IndexingError):
    """A GPU index was asked for where none can be made."""


class FaissMissingError(IndexingError):
    """FAISS cannot be imported, as where the extra that brings it is not installed."""
