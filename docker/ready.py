"""Exits with 0 if the service on this machine can answer requests: `ready.py [PORT]`.

The port is DIMEREC_PORT where none is given, else 8000. Needs nothing but Python.
"""

import os
import ssl
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection

_TIMEOUT_S = 3.0


def is_ready(port: int) -> bool:
    """Whether `GET /health/ready` on 127.0.0.1 answers 200; no proxy is asked, whatever the environment."""
    connection = _connection(port)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _connection(port: int) -> HTTPConnection:
    """By HTTPS where the service has a certificate; it is of another name, so nothing is compared with it."""
    if not os.environ.get("DIMEREC_TLS_CERTIFICATE"):
        return HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return HTTPSConnection("127.0.0.1", port, timeout=_TIMEOUT_S, context=context)


if __name__ == "__main__":
    given = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("DIMEREC_PORT") or "8000"
    sys.exit(0 if is_ready(int(given)) else 1)
