"""The keys in Redis, and how long each of them lives.

| key                            | value                   | lifetime                       |
|--------------------------------|-------------------------|--------------------------------|
| `dimerec:history:2:{<user>}`   | events, see encoding.py | `ttl_s` from the latest append |
| `dimerec:import:1:{<job>}`     | users imported          | a week from the latest step    |
| `dimerec:forgotten:1:{<hash>}` | ms since the epoch      | `ttl_s` from the forgetting    |
| `dimerec:forgotten:secret`     | key of those hashes     | stays                          |
| `dimerec:rate:1:…`             | service/access/rates.py | the window of the rate         |
| `dimerec:{catalogue}:2:…`      | service/catalogue/redis.py | stays                       |
| `dimerec:{trending}:1:…`       | service/trending/shared.py | its own                     |
| `dimerec:doctor:1:{<random>}`  | 1                       | 10 s at most                   |

A history of a new user lives `new_ttl_s` instead. The user id is percent-encoded, so that nothing a caller
sends can leave the hash tag `{…}`, which places the key in a cluster. The number is the version of the
value's form.
"""

from urllib.parse import quote, unquote

HISTORIES = "dimerec:history:2:"
SECRET = "dimerec:forgotten:secret"  # noqa: S105 - its name, not the secret
IMPORT_TTL_S = 7 * 24 * 3600
"""In which a broken import may go on; what it began is then forgotten."""


def history_key(user_id: str) -> str:
    """The key of a user's history."""
    return f"{HISTORIES}{{{quote(user_id, safe='')}}}"


def import_key(job: str) -> str:
    """The key of an import's progress."""
    return f"dimerec:import:1:{{{quote(job, safe='')}}}"


def mark_key(hashed_id: str) -> str:
    """The key of the mark of a user who was forgotten."""
    return f"dimerec:forgotten:1:{{{hashed_id}}}"


def probe_key(name: str) -> str:
    """The key by which `dimerec doctor` tries to write."""
    return f"dimerec:doctor:1:{{{name}}}"


def user_of(key: bytes) -> str | None:
    """The user whose history the key is of; None for a key that we never write, whoever does."""
    quoted = key[len(HISTORIES) + 1 : -1].decode(errors="replace")
    user_id = unquote(quoted)
    return user_id if user_id and history_key(user_id).encode() == key else None
