"""The listening socket of a service, and the address that people open."""

import socket
from ipaddress import ip_address

from service.errors import StartupError
from service.settings import Settings

BACKLOG = 2048
"""Connections that wait to be accepted: uvicorn's own number."""


def ports(settings: Settings) -> list[int]:
    """The ports to listen on: that of callers, then that of operators where it is another."""
    return [settings.port] if settings.admin_port is None else [settings.port, settings.admin_port]


def bound_socket(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket bound to the address; raises StartupError with the remedy when that cannot be.

    `shared`: further such sockets of the same user may be bound to the address, and the kernel spreads new
    connections over those that listen.
    """
    address = f"{host} port {port}"
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise StartupError(f"cannot listen on {address}: no such host; choose another with --host") from error
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind(target)
    except OSError as error:
        listener.close()
        raise StartupError(
            f"cannot listen on {address}: {error.strerror}; choose another with --port or --host"
        ) from error
    return listener


def reserved_address(host: str, port: int) -> socket.socket:
    """A socket that never listens and keeps the address for `shared` ones, a port of 0 made a free one.

    Raises StartupError when the address is another service's already, though that one shares its own.
    """
    with bound_socket(host, port) as alone:
        port = alone.getsockname()[1]
    return bound_socket(host, port, shared=True)


def url(listener: socket.socket, *, tls: bool = False) -> str:
    """The address of a bound socket, as a browser on this machine takes it."""
    host, port = listener.getsockname()[:2]
    if ip_address(host).is_unspecified:
        host = "127.0.0.1"
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
