"""Faults of a server that ``ppdsim calibrate`` joins, each with its outcome: what goes wrong where, what is said.

Whoever runs all of them: tests/measure/test_server_faults.py, and any script that puts the folder ``tests`` on
its path::

    from measure.fault_server import FaultyServer, command
    from measure.faults import FAULTS

    for fault in FAULTS:
        with FaultyServer(fault) as server:
            run = subprocess.run([ppdsim, *command(server.url, folder)], ...)
        assert run.returncode == fault.exit_code
        assert re.search(fault.said, run.stderr)

Faults that `hangs` end by a bound in time (a minute); the tests make the bounds short.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

from measure.fault_server import (
    HEAD,
    INFO,
    LAST,
    RESET,
    Fault,
    Raw,
    chunk,
    dripping,
    endless,
    http,
    in_stream,
    says,
    sends,
)


def info(**changes: Any) -> Raw:
    """Return /server_info with other values; one that is `...` is left out."""
    told = {name: value for name, value in {**INFO, **changes}.items() if value is not ...}
    return sends(http(json.dumps(told).encode()))


def _of_info(name: str, answer: Raw, said: str, **fields: Any) -> Fault:
    return Fault(name=f"info: {name}", path="/server_info", answer=answer, said=said, **fields)


def _of_turn(name: str, answer: Raw, said: str, **fields: Any) -> Fault:
    return Fault(name=f"turn: {name}", path="/generate", answer=answer, said=said, **fields)


def _of_control(path: str, name: str, answer: Raw, said: str, **fields: Any) -> Fault:
    return Fault(name=f"{path[1:]}: {name}", path=path, answer=answer, said=said, **fields)


STATUS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
ELSEWHERE = sends(http(b"", status="307 Temporary Redirect", more="Location: http://127.0.0.1:1/x?token=1\r\n"))
FOREVER = b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"

FAULTS: tuple[Fault, ...] = (
    *(
        _of_info(f"status {code}", sends(http(b"no", status=f"{code} {text}")), f"/server_info: status {code}: no")
        for code, text in STATUS.items()
    ),
    _of_info("redirect", ELSEWHERE, r"status 307: redirects to http://127.0.0.1:1/x; give the address"),
    _of_info("HTML", sends(http(b"<html>hello</html>")), r"not JSON .*'<html>hello</html>'"),
    _of_info("empty", sends(http(b"")), "not JSON"),
    _of_info("{}", sends(http(b"{}")), "lacks 'max_total_num_tokens'"),
    _of_info("null", sends(http(b"null")), "None, expected: an object"),
    _of_info("a list", sends(http(b"[1]")), r"\[1\], expected: an object"),
    _of_info("a deep list", sends(http(b"[" * 100_000)), "recursion limit"),
    _of_info("broken UTF-8", sends(http(b'{"version": "\xff"}')), "not JSON"),
    _of_info(
        "a number as text", info(max_total_num_tokens="65536"), "max_total_num_tokens = '65536', expected: a valid"
    ),
    _of_info("a fraction", info(page_size=64.5), "page_size = 64.5, expected"),
    _of_info("NaN", info(max_total_num_tokens=float("nan")), "max_total_num_tokens = nan, expected"),
    _of_info("a null number", info(page_size=None), "page_size = None, expected"),
    _of_info("a negative number", info(chunked_prefill_size=-1), "chunked_prefill_size = -1, expected"),
    _of_info("zero", info(page_size=0), "page_size = 0, expected"),
    _of_info("a huge number", info(max_total_num_tokens=10**18), "max_total_num_tokens = 10{18}, expected"),
    _of_info("a bool", info(max_running_requests=True), "max_running_requests = True, expected"),
    _of_info("no page size", info(page_size=...), "lacks 'page_size'"),
    _of_info("a version that is a document", info(version={"a": 1}), "version = {'a': 1}, expected"),
    _of_info("too large", endless(chunk(b" " * 65_536), before=FOREVER), "the limit server_info_bytes"),
    _of_info(
        "packed though not asked for",
        sends(http(gzip.compress(b" " * 10_000_000), more="Content-Encoding: gzip\r\n")),
        "not JSON",
    ),
    _of_info("cut off", sends(http(b"{", length=100)), "unreachable: .*/server_info: "),
    _of_info("reset", sends(RESET), "unreachable: .*/server_info: "),
    _of_info("no HTTP", sends(b"SSH-2.0-OpenSSH_9.6\r\n"), "unreachable: .*/server_info: "),
    _of_info(
        "an endless header", endless(b"x" * 65_536, before=b"HTTP/1.1 200 OK\r\nA: "), "unreachable: .*/server_info"
    ),
    _of_info("hangs", sends(None), r"/server_info: no answer within \S+ s", hangs=True),
    _of_info("drips", dripping(chunk(b" "), 0.05, before=FOREVER), r"no answer within \S+ s", hangs=True),
    *(
        _of_turn(f"status {code}", sends(http(b"no", status=f"{code} {text}")), f"http: status {code}: no")
        for code, text in STATUS.items()
    ),
    _of_turn("redirect", ELSEWHERE, r"http: status 307: redirects to http://127.0.0.1:1/x; give"),
    _of_turn(
        "an endless error",
        endless(chunk(b"no " * 9999), before=FOREVER.replace(b"200 OK", b"500 No")),
        "malformed: .*limit server_answer_bytes",
    ),
    _of_turn("HTML", sends(http(b"<html>hello</html>")), "disconnected: 0 of 4 tokens, finish reason 'None'"),
    _of_turn("reset", sends(RESET), "disconnected: after 0 of 4 tokens"),
    _of_turn(
        "refused in the stream", in_stream(chunk(b'data: {"error": {"message": "too long"}}\n\n')), "refused: too long"
    ),
    _of_turn("aborted", says(finish_reason={"type": "abort", "message": "out of memory"}), "aborted: .*out of memory"),
    _of_turn(
        "bad JSON", in_stream(chunk(b"data: {\n\n") + LAST), r"malformed: an event of the stream: not JSON .*'\{'"
    ),
    _of_turn("a null event", in_stream(chunk(b"data: null\n\n") + LAST), "malformed: .*None, expected: an object"),
    _of_turn(
        "no meta_info", in_stream(chunk(b'data: {"output_ids": [1]}\n\n') + LAST), "malformed: .*lacks 'meta_info'"
    ),
    _of_turn(
        "meta_info is text", in_stream(chunk(b'data: {"meta_info": "x"}\n\n') + LAST), "malformed: .*meta_info = 'x'"
    ),
    _of_turn("no count", says(completion_tokens=...), "malformed: .*lacks 'meta_info.completion_tokens'"),
    _of_turn("a null count", says(completion_tokens=None), "malformed: .*completion_tokens = None"),
    _of_turn("a count as text", says(prompt_tokens="64"), "malformed: .*prompt_tokens = '64'"),
    _of_turn("a NaN count", says(cached_tokens=float("nan")), "malformed: .*cached_tokens = nan"),
    _of_turn("a huge count", says(completion_tokens=10**12), "malformed: .*completion_tokens = 10{12}"),
    _of_turn("more tokens than asked for", says(completion_tokens=5), "malformed: .*completion_tokens = 5 after 1"),
    _of_turn("a negative count", says(completion_tokens=-1), "malformed: .*completion_tokens = -1"),
    _of_turn("a count that goes back", says(completion_tokens=0), "malformed: .*completion_tokens = 0 after 1"),
    _of_turn("another prompt", says(prompt_tokens=7), "refused: the engine counted a prompt of 7 tokens"),
    _of_turn("more cached than sent", says(cached_tokens=4096), "refused: 4096 cached tokens of a prompt"),
    _of_turn("cached though flushed", says(cached_tokens=64), "refused: 64 cached tokens, intended 0"),
    _of_turn("retracted", says(num_retractions=2), "refused: the engine retracted it 2 times"),
    _of_turn("a time that is NaN", says(queue_time=float("nan")), "malformed: .*queue_time = nan"),
    _of_turn("a time that is text", says(e2e_latency="fast"), "malformed: .*e2e_latency = 'fast'"),
    _of_turn("no finish reason", says(finish_reason=None), "disconnected: 4 of 4 tokens, finish reason 'None'"),
    _of_turn("another finish reason", says(finish_reason={"type": "stop"}), "disconnected: .*finish reason 'stop'"),
    _of_turn("a finish reason of text", says(finish_reason="length"), "malformed: .*finish_reason = 'length'"),
    _of_turn("token ids of text", in_stream(chunk(b'data: {"output_ids": ["a"]}\n\n') + LAST), "malformed: "),
    _of_turn(
        "broken UTF-8", in_stream(chunk(b'data: {"meta_info": {"id": "\xff\xfe"}}\n\n') + LAST), "malformed: .*not JSON"
    ),
    _of_turn(
        "an overlong line",
        in_stream(chunk(b"data: " + b"x" * (2 << 20)) + LAST),
        "malformed: .*limit stream_line_bytes",
    ),
    _of_turn(
        "an endless line",
        endless(chunk(b"x" * 65_536), before=HEAD),
        "malformed: .*limit stream_line_bytes",
    ),
    _of_turn("cut off in the stream", in_stream(), "disconnected: after 1 of 4 tokens"),
    _of_turn("reset in the stream", in_stream(RESET), "disconnected: after 1 of 4 tokens"),
    _of_turn("ends early", in_stream(LAST), "disconnected: 1 of 4 tokens, finish reason 'None'"),
    # aiohttp 3.14 misses one in twenty of these, and the bound on silence ends it.
    _of_turn("no chunks", in_stream(b"zz\r\n"), "disconnected: after 0 of 4 tokens|timeout: 1 of 4 tokens"),
    _of_turn(
        "the first one only", in_stream(chunk(b"data: {\n\n") + LAST), "malformed: .*not JSON", exit_code=0, once=True
    ),
    _of_turn("hangs before its header", sends(None), "hangs: timeout: 0 of 2 tokens", hangs=True),
    _of_turn("hangs after its header", sends(HEAD, None), "hangs: timeout: 0 of 2 tokens", hangs=True),
    _of_turn("hangs in the stream", in_stream(None), "hangs: timeout: 1 of 2 tokens", hangs=True),
    _of_turn("hangs in a line", in_stream(chunk(b"data: {"), None), "hangs: timeout: 1 of 2 tokens", hangs=True),
    _of_turn("drips bytes", dripping(chunk(b"x"), 0.05), "hangs: timeout: 0 of 2 tokens", hangs=True),
    _of_turn("drips empty lines", dripping(chunk(b"\n"), 0.05), "hangs: timeout: 0 of 2 tokens", hangs=True),
    _of_turn("hangs once", sends(None), "skipped .*: timeout: 0 of 4 tokens", exit_code=0, once=True),
    _of_control(
        "/flush_cache",
        "status 400",
        sends(http(b"Flush cache failed.", status="400 Bad Request")),
        "unified: http: .*/flush_cache.*: status 400: Flush cache failed.",
    ),
    _of_control("/flush_cache", "hangs", sends(None), r"/flush_cache.*: no answer within \S+ s", hangs=True),
    _of_control("/flush_cache", "reset", sends(RESET), "unified: unreachable: .*/flush_cache"),
    _of_control(
        "/flush_cache",
        "endless",
        endless(chunk(b"OK " * 9999), before=FOREVER),
        "limit server_answer_bytes",
    ),
)
"""Every fault with its outcome."""
