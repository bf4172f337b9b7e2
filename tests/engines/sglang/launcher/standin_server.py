"""A server that costs nothing, for tests of starting and ending: it takes the engine's flags and those of the router.

It answers /health, /metrics and streaming /generate; as a router it passes requests on to P and then to D. What it does
wrong is said by ``--standin WORD[,WORD]``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOGS = {
    "oom": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 1 GiB",
    "ordinal": "torch.AcceleratorError: CUDA error: invalid device ordinal",
    "symbol": "ImportError: common_ops.abi3.so: undefined symbol: _ZNK3c106SymInt6sym_neERKS0_",
    "ibverbs": "ImportError: libibverbs.so.1: cannot open shared object file: No such file or directory",
    "library": "ModuleNotFoundError: No module named 'flashinfer'",
    "rnic": "E1126 10:02:11.190421 12 rdma_transport.cpp:560] RdmaTransport: No available RNIC",
    "port": "ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 1): address already in use",
    "strange": "ValueError: the moon is not in the right phase",
}
NOISE = "Ignore import error when loading sglang.srt.models.glm: No module named 'glm'"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model-path")
    parser.add_argument("--disaggregation-mode", default="null")
    parser.add_argument("--disaggregation-bootstrap-port", type=int)
    parser.add_argument("--prefill", nargs="+", action="append", default=[])
    parser.add_argument("--decode", action="append", default=[])
    parser.add_argument("--enable-metrics", action="store_true")
    parser.add_argument("--standin", default="")
    parser.add_argument("--grandchild-port", type=int)
    return parser.parse_known_args()[0]


OPTIONS = argparse.Namespace()
WORDS: list[str] = []
SERVED = [0]


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, content: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        if self.path == "/metrics" and OPTIONS.enable_metrics:
            labels = '{engine_type="prefill",tp_rank="0"}'
            lines = ["# TYPE sglang:num_running_reqs gauge", "sglang:num_running_reqs 0.0"]
            if SERVED[0]:
                lines.append(f"sglang:kv_transfer_latency_ms_sum{labels} {12.5 * SERVED[0]}")
                lines.append(f"sglang:kv_transfer_latency_ms_count{labels} {SERVED[0]}.0")
            self._answer("\n".join(lines).encode())
        else:
            self._answer(b"ok", 200 if self.path in ("/health", "/readiness") else 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/generate":
            self._answer(b"")
            return
        say("request received")
        if "hang-request" in WORDS:
            time.sleep(600)
        if "die-in-request" in WORDS:
            say(LOGS["oom"])
            os._exit(3)
        if OPTIONS.prefill:
            passed(OPTIONS.prefill[0][0], body)
            self._answer(passed(OPTIONS.decode[0], body))
            return
        SERVED[0] += 1
        self._answer(stream(json.loads(body)))


def passed(url: str, body: bytes) -> bytes:
    request = urllib.request.Request(url + "/generate", body, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return answer.read()


def stream(body: dict) -> bytes:
    wanted = body["sampling_params"]["max_new_tokens"] - ("short" in WORDS)
    events = []
    for count in range(1, wanted + 1):
        reason = None if count < wanted else {"type": "abort" if "abort" in WORDS else "length", "message": "no room"}
        meta = {"completion_tokens": count, "prompt_tokens": len(body["input_ids"]), "cached_tokens": 0}
        meta["prompt_tokens"] += "miscount" in WORDS
        events.append(json.dumps({"output_ids": [7] * count, "meta_info": {**meta, "finish_reason": reason}}))
    return "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]).encode()


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def grandchild(port: int) -> None:
    """Leave the family as far as possible: a session of its own, deaf to SIGTERM, a port held."""
    code = (
        "import signal, socket, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"s = socket.create_server(('127.0.0.1', {port})); print('grandchild listens', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-S", "-E", "-c", code, str(OPTIONS.model_path)]
    child = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE)
    child.stdout.readline()


def main() -> None:
    vars(OPTIONS).update(vars(parsed()))
    WORDS.extend(OPTIONS.standin.split(","))
    say(NOISE)
    say("\x1b[32mINFO\x1b[0m loading weights:   0%\rloading weights:  50%")
    if "stubborn" in WORDS:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if OPTIONS.grandchild_port is not None:
        grandchild(OPTIONS.grandchild_port)
    for word, line in LOGS.items():
        if word in WORDS:
            say(f'Traceback (most recent call last):\n  File "x.py", line 1\n{line}')
            say("Received sigquit from a child process. It usually means the child failed.")
            sys.exit(1)
        if f"{word}-alive" in WORDS:
            say(line)
            time.sleep(600)
    if "killed" in WORDS:
        os.kill(os.getpid(), signal.SIGKILL)
    if "hang-start" in WORDS:
        time.sleep(600)
    if "take-port" in WORDS:
        taken = socket.create_server((OPTIONS.host, OPTIONS.port))
        say(f"holds {taken.getsockname()}")
    held = None
    if OPTIONS.disaggregation_mode == "prefill":
        held = socket.create_server((OPTIONS.host, OPTIONS.disaggregation_bootstrap_port))
    server = ThreadingHTTPServer((OPTIONS.host, OPTIONS.port), Handler)
    server.daemon_threads = True
    say("The server is fired up and ready to roll!")
    server.serve_forever()
    if held is not None:
        held.close()


if __name__ == "__main__":
    main()
