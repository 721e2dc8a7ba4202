"""To whom the service is open, said at the start; too open is refused."""

from service.access.keys import read_keys
from service.access.loopback import is_loopback
from service.access.settings import AccessSettings
from service.errors import StartupError

_REMEDIES = (
    "make a key with `dimerec keys create`, listen on 127.0.0.1, or set DIMEREC_ALLOW_ANONYMOUS=true where "
    "everybody who reaches it may read and write histories"
)


def exposure(settings: AccessSettings, address: str) -> str:
    """Who is served at `address`, an IP address to listen on, in words.

    Raises StartupError where other machines would be let in and no key exists, unless the settings say so.
    """
    keys = len(read_keys(settings.keys_file))
    with_keys = f"{keys} key{'' if keys == 1 else 's'} in {settings.keys_file}"
    if settings.allow_anonymous:
        return f"OPEN WITHOUT A KEY to all who reach it: read, write, users, metrics; {with_keys}"
    if not keys and not is_loopback(address):
        raise StartupError(f"{address} lets others in, and {settings.keys_file} has no key: {_REMEDIES}")
    if settings.allow_anonymous is False:
        return f"open to nobody without a key; {with_keys}"
    return f"open to this machine without a key: read, write, users, metrics; {with_keys}"
