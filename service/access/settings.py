"""Settings of access: who may reach the service, and by which way."""

import re
import ssl
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode

_HOST = re.compile(r"\*|(?:\*\.)?[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\]", re.IGNORECASE)
_ORIGIN = re.compile(r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?", re.IGNORECASE)


def _split(value: object) -> object:
    return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


def _each(matches: Callable[[str], object], example: str) -> AfterValidator:
    def check(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for value in values or ():
            if not matches(value):
                raise ValueError(f"must be {example}, joined by commas")
        return values

    return AfterValidator(check)


def _is_network(value: str) -> bool:
    try:
        ip_network(value)
    except ValueError:
        return False
    return True


_Texts = Annotated[tuple[str, ...] | None, NoDecode, BeforeValidator(_split)]
Hosts = Annotated[
    _Texts, _each(_HOST.fullmatch, "host names without a port, like reco.example.org or *.example.org")
]
Origins = Annotated[_Texts, _each(_ORIGIN.fullmatch, "origins like https://app.example.org")]
Networks = Annotated[_Texts, _each(_is_network, "addresses or networks like 10.0.0.7 or 10.0.0.0/8")]


class AccessSettings(BaseModel):
    """Keys, addresses, and what is shown."""

    keys_file: Path = Field(
        Path("keys.json"),
        description="file of API keys, written by `dimerec keys`, read again when it changes",
    )
    allow_anonymous: bool | None = Field(
        None,
        description="take requests without a key: true from everywhere, false from nowhere; unset: from this"
        " machine",
    )
    admin_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="a port of its own for /admin, /metrics and the console; unset: they are on the other",
    )
    allowed_hosts: Hosts = Field(
        None,
        description="names that the header Host may have, joined by commas, besides this machine's own;"
        " unset: any",
    )
    cors_origins: Origins = Field(
        None, description="origins of web pages that may call from a browser, joined by commas; unset: none"
    )
    trusted_proxies: Networks = Field(
        None,
        description="addresses and networks of proxies whose X-Forwarded-For is believed; unset: none",
    )
    tls_certificate: Path | None = Field(
        None, description="PEM file with the server's certificate, to serve HTTPS; unset: HTTP"
    )
    tls_key: Path | None = Field(
        None, description="PEM file with the certificate's key, without a passphrase"
    )
    list_users: bool | None = Field(
        None, description="offer GET /users; unset: only with the in-process store"
    )
    console_writes: bool = Field(
        False, description="show the console's buttons that change something; roles are what allows it"
    )

    @model_validator(mode="after")
    def _refuse_half_of_a_certificate(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError(
                "DIMEREC_TLS_CERTIFICATE and DIMEREC_TLS_KEY belong together: set both or neither"
            )
        if self.tls_certificate is not None:
            try:
                ssl.create_default_context().load_cert_chain(self.tls_certificate, self.tls_key, password="")
            except OSError as error:
                raise ValueError(
                    "DIMEREC_TLS_CERTIFICATE and DIMEREC_TLS_KEY cannot be used"
                    f" ({error.strerror or error}): PEM files, the key without a passphrase"
                ) from error
        return self
