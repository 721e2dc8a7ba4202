"""The form of all requests: every field known, nothing coerced."""

from itertools import islice
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from service.errors import MAX_ERRORS


class RequestModel(BaseModel):
    """A request, or a part of one."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _few_unknown_fields(cls, body: Any) -> Any:
        """Keep no more unknown fields than an answer names: a body may hold 100,000, each of them a fault."""
        fields = cls.model_fields
        if not isinstance(body, dict) or len(body) <= len(fields) + MAX_ERRORS:
            return body
        unknown = islice((name for name in body if name not in fields), MAX_ERRORS)
        return {name: body[name] for name in (*unknown, *(name for name in fields if name in body))}
