"""Formats told by the first bytes of a file."""

from training.errors import DataError

PARQUET = b"PAR1"
GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
UTF8_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

_READ = "Parquet, CSV, TSV or JSON Lines"
_UNPACK = "unpack it"
_EXPORT = f"export it as {_READ}"
_SAVE = "save the sheet as CSV UTF-8"

_OTHERS = (
    (b"PK\x03\x04", "a zip archive", _UNPACK),
    (b"PK\x05\x06", "an empty zip archive", _UNPACK),
    (b"BZh", "compressed by bzip2", f"{_UNPACK}, or compress it by gzip or zstd"),
    (b"\xfd7zXZ\x00", "compressed by xz", f"{_UNPACK}, or compress it by gzip or zstd"),
    (b"\x04\x22\x4d\x18", "compressed by lz4", f"{_UNPACK}, or compress it by gzip or zstd"),
    (b"\xff\x06\x00\x00sNaPpY", "compressed by snappy", f"{_UNPACK}, or compress it by gzip or zstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"ARROW1", "an Arrow IPC (Feather) file", _EXPORT),
    (b"FEA1", "a Feather file", _EXPORT),
    (b"\xff\xff\xff\xff", "an Arrow IPC stream", _EXPORT),
    (b"ORC", "an ORC file", _EXPORT),
    (b"Obj\x01", "an Avro file", _EXPORT),
    (b"SQLite format 3\x00", "an SQLite database", _EXPORT),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", _SAVE),
    (b"\x89HDF", "an HDF5 file", _EXPORT),
    (b"\x93NUMPY", "a NumPy array", _EXPORT),
    *((b"\x80" + protocol, "a pickle", _EXPORT) for protocol in (b"\x02", b"\x03", b"\x04\x95", b"\x05\x95")),
    (b"\x1f\x9d", "compressed by compress", f"{_UNPACK}, or compress it by gzip or zstd"),
    (b"\x89PNG", "an image", f"name {_READ}"),
    (b"\xff\xd8\xff", "an image", f"name {_READ}"),
    (b"RDX", "an R data file", _EXPORT),
    (b"PARE", "an encrypted Parquet file", "decrypt it"),
    (b"%PDF", "a PDF", _EXPORT),
    (b"\xff\xfe\x00\x00", "UTF-32 text", "convert it to UTF-8: iconv -f utf-32 -t utf-8"),
    (b"\x00\x00\xfe\xff", "UTF-32 text", "convert it to UTF-8: iconv -f utf-32 -t utf-8"),
    (b"version https://git-lfs", "a pointer of Git LFS and not the file", "fetch the file: git lfs pull"),
)
_WORKBOOK = (b"[Content_Types].xml", b"xl/")
_TAR, _TAR_AT = b"ustar", 257
_DUCKDB, _DUCKDB_AT = b"DUCK", 8


def refuse_others(name: str, head: bytes) -> None:
    """Raise DataError where a file's first bytes `head`, 512 or more, are of a format that is not read."""
    for magic, what, remedy in _OTHERS:
        if head.startswith(magic):
            if magic.startswith(b"PK") and any(part in head for part in _WORKBOOK):
                what, remedy = "an Excel workbook", _SAVE
            raise DataError(f"{name} is {what}; {remedy}")
    if head[_TAR_AT:].startswith(_TAR):
        raise DataError(f"{name} is a tar archive; {_UNPACK}")
    if head[_DUCKDB_AT:].startswith(_DUCKDB):
        raise DataError(f"{name} is a DuckDB database; {_EXPORT}")
    if head.removeprefix(UTF8_MARK).lstrip().startswith(b"<") and b">" in head:
        raise DataError(f"{name} is a web page or XML; fetch or export it as {_READ}")


def refuse_binary(name: str, head: bytes) -> None:
    """Raise DataError where the first line of what should be text has NUL bytes or ends by CR alone."""
    line = head.partition(b"\n")[0]
    if b"\x00" in line:
        order = "utf-16le" if line[1:2] == b"\x00" else "utf-16be"
        raise DataError(
            f"{name} has NUL bytes in its first line: it is binary, or UTF-16 without a byte-order mark; "
            f"convert such text to UTF-8: iconv -f {order} -t utf-8"
        )
    if b"\r" in line.removesuffix(b"\r"):
        ends = "by CR CR LF" if line.endswith(b"\r\r") else "by CR alone, as old Macs did"
        raise DataError(f"{name} ends its lines {ends}; convert it: tr -s '\\r' '\\n' < FILE")
    stripped = head.lstrip()
    if stripped.startswith((b"[{", b"[[", b'["', b"[\n", b"[ ", b"[\r")):
        raise DataError(f"{name} is one JSON array; write a line an event: jq -c '.[]'")
