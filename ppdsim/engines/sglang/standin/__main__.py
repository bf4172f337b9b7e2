"""``python -m ppdsim.engines.sglang.standin``: one stand-in server, started with SGLang's own flags."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from ppdsim.engines.sglang.standin.flags import ServerOptions, parse
from ppdsim.engines.sglang.standin.server import serving
from ppdsim.errors import PpdsimError
from ppdsim.printable import printable


def _say(text: str) -> None:
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()


async def _serve(options: ServerOptions) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with serving(options):
        _say(f"INFO:     stand-in engine, {options.mode.value}, profile {options.profile}")
        _say(f"INFO:     Uvicorn running on http://{options.host}:{options.port} (Press CTRL+C to quit)")
        _say("The server is fired up and ready to roll!")
        await stop.wait()


def main() -> int:
    """Serve until SIGINT or SIGTERM, and return the exit code."""
    options = parse(sys.argv[1:])
    if options.kv_transfer == "mooncake":
        # Read by the engine when it is imported.
        os.environ.setdefault("MC_FORCE_TCP", "1")
        os.environ.setdefault("MC_TCP_ENABLE_CONNECTION_POOL", "1")
    try:
        asyncio.run(_serve(options))
    except PpdsimError as problem:
        _say(f"error: {problem}")
        return problem.exit_code
    except OSError as problem:
        _say(f"ERROR:    {problem}")
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    # The transfer engine's threads would keep the process alive.
    os._exit(code)
