"""The Lua scripts that Redis runs, each as one step."""

from hashlib import sha1
from importlib.resources import files
from typing import Any

from redis.exceptions import NoScriptError


class Script:
    """A Lua script, known to Redis by the digest of its text."""

    def __init__(self, name: str) -> None:
        parts = (files("service.history").joinpath(part) for part in ("columns.lua", name))
        self.text = "".join(part.read_text() for part in parts)
        self.sha1 = sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: Any, key: str, *arguments: Any) -> Any:
        """Its reply for a key."""
        try:
            return await client.evalsha(self.sha1, 1, key, *arguments)
        except NoScriptError:
            return await client.eval(self.text, 1, key, *arguments)


APPEND = Script("append.lua")
REMOVE = Script("remove.lua")
DROP_OLDER = Script("drop_older.lua")
MARK = files("service.history").joinpath("mark.lua").read_text()
"""Short, and run seldom: it is sent each time."""
