"""Whether a port is free, and who answers on it."""

from __future__ import annotations

import errno
import socket
from http.client import HTTPConnection, HTTPException


def is_free(host: str, port: int) -> bool:
    """Tell whether a server could listen there; closed connections that linger do not count.

    >>> with socket.create_server(("127.0.0.1", 0)) as taken:
    ...     is_free("127.0.0.1", taken.getsockname()[1])
    False
    """
    with socket.socket() as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            place.bind((host, port))
            # Two can bind to one port, if neither listens yet; only one can listen.
            place.listen(1)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            return False
    return True


def answers(host: str, port: int, path: str, *, timeout_s: float) -> bool:
    """Tell whether GET `path` is answered with 200 within a bound [s]."""
    connection = HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
