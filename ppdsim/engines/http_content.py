"""Reading what a server sends, piece by piece and up to a limit in bytes: a whole answer, or a stream line by line.

Not modelled: packed content; it is not asked for, and not unpacked where it comes all the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from ppdsim.engines.client import Failure, RequestFailed
from ppdsim.limits import STREAM_BYTES, STREAM_LINE_BYTES, Limit

if TYPE_CHECKING:
    import aiohttp


async def content_of(answer: aiohttp.ClientResponse, most: Limit) -> bytes:
    """Return an answer's content.

    Raises
    ------
    RequestFailed
        If it is larger than `most`.
    """
    out = bytearray()
    async for chunk in answer.content.iter_any():
        out += chunk
        if len(out) > most.value:
            raise RequestFailed(Failure.MALFORMED, most.refusal(str(answer.url), "an answer larger"))
    return bytes(out)


async def lines_of(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield the lines of a stream as soon as they are complete, and at its end what has no end of line.

    Raises
    ------
    RequestFailed
        If a line, or all of it, is too long.
    """
    rest, total = b"", 0
    async for chunk in content.iter_any():
        total += len(chunk)
        *whole, rest = (rest + chunk).split(b"\n")
        for size, limit in ((max(map(len, (rest, *whole))), STREAM_LINE_BYTES), (total, STREAM_BYTES)):
            if size > limit.value:
                raise RequestFailed(Failure.MALFORMED, limit.refusal("the stream", "longer"))
        for line in whole:
            yield line
    if rest:
        yield rest
