"""Everything that can go wrong with an index, as one tree.

IndexingError
├── VectorError          vectors, queries or rows of a wrong shape, length or value
├── IndexFileError       a file of vectors or of an index that is not the one expected
├── CatalogueError       an item table that is missing, damaged or inconsistent
├── QueryError           a retrieval query outside its bounds
├── AttributeValueError  a value that is none of an attribute's type
├── FilterError          a filter that the catalogue's attributes do not allow
├── GpuUnavailableError  a GPU index was asked for where none can be made
└── FaissMissingError    FAISS cannot be imported: the extra that brings it is not installed
"""

from files.errors import DimeRecError, field_path


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


class AttributeValueError(IndexingError):
    """A value is none of its attribute's type; the message goes on after the attribute's name."""


class FilterError(IndexingError):
    """A filter asks for what the catalogue's attributes do not allow; `location`: the part at fault."""

    def __init__(self, location: tuple[str | int, ...], fault: str) -> None:
        self.location = location
        self.fault = fault
        super().__init__(f"{field_path(location)}: {fault}")


class GpuUnavailableError(IndexingError):
    """A GPU index was asked for where none can be made."""


class FaissMissingError(IndexingError):
    """FAISS cannot be imported, as where the extra that brings it is not installed."""
