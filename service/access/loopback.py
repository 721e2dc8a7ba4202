"""Addresses of this machine."""

from functools import lru_cache
from ipaddress import ip_address


@lru_cache(1024)
def is_loopback(address: str) -> bool:
    """True for an address that only this machine reaches."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return bool((mapped or parsed).is_loopback)
