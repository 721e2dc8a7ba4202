"""Headers of all answers that keep browsers from doing more with them than showing them."""

SECURITY = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

RAW_SECURITY = [(name.encode(), value.encode()) for name, value in SECURITY.items()]


def with_security(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of an answer, with each of these that it does not set itself."""
    given = {name for name, _ in headers}
    return headers + [pair for pair in RAW_SECURITY if pair[0] not in given]
