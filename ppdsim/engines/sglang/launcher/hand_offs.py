"""What prefill servers count of their hand-offs: ``sglang:kv_transfer_latency_ms`` of their /metrics.

The engine counts the last chunk of a prompt only (SGLang 0.5.17).
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from ppdsim.engines.client import Endpoints
from ppdsim.limits import SERVER_INFO_BYTES
from ppdsim.units import MS_PER_S

ANSWER_S = 3.0
"""Bound on /metrics [s]."""
_LATENCY = re.compile(r"^sglang:kv_transfer_latency_ms_(sum|count)(?:\{[^}]*\})?\s+(\S+)", re.MULTILINE)


def hand_offs(endpoints: Endpoints) -> tuple[float, float] | None:
    """Return seconds and number of the hand-offs that prefill servers have counted; None if none counts any."""
    total_ms = count = 0.0
    counts = False
    for url in (url for role, url in endpoints.servers if role == "prefill"):
        text = _metrics(url)
        # A histogram without an observation is not printed yet.
        counts = counts or "sglang:" in text
        for kind, value in _LATENCY.findall(text):
            number = float(value)
            if math.isfinite(number):
                total_ms, count = (total_ms + number, count) if kind == "sum" else (total_ms, count + number)
    return (total_ms / MS_PER_S, count) if counts else None


def _metrics(url: str) -> str:
    """Return /metrics of a server, empty where there is none."""
    place = urlsplit(url)
    connection = HTTPConnection(place.hostname or "", place.port, timeout=ANSWER_S)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        if answer.status == 200:
            with suppress(UnicodeDecodeError):
                return answer.read(SERVER_INFO_BYTES.value).decode()
    except (OSError, HTTPException):
        pass
    finally:
        connection.close()
    return ""
