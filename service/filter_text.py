"""A filter that came as a text of JSON, as a parameter of a URL or an option of the command line; and the
faults of a filter for the engine that is to apply it.
"""

from pydantic import ValidationError

from engine.engine import Engine
from files.errors import field_path
from index.errors import FilterError
from index.filters import Filter
from service.errors import FieldFault, InvalidRequestError, MalformedJsonError
from service.filters import WhereRequest
from service.json_text import parsed
from service.problems import faults_of
from service.request_model import RequestModel


class _Asked(RequestModel):
    where: WhereRequest


def filter_of(text: str) -> Filter:
    """The filter that a text describes, as `where` of a body does; raises InvalidRequestError."""
    try:
        return _Asked.model_validate({"where": parsed(text)}).where.filter
    except MalformedJsonError as error:
        raise InvalidRequestError([FieldFault("where", f"must be JSON: {error}")]) from error
    except ValidationError as error:
        raise InvalidRequestError(faults_of(error)) from error


def check_filter(where: Filter, engine: Engine) -> None:
    """Raise InvalidRequestError unless the attributes of an engine's catalogue can be filtered so."""
    try:
        engine.check_filter(where)
    except FilterError as error:
        field = field_path(("where", *error.location))
        raise InvalidRequestError([FieldFault(field, error.fault)]) from error
