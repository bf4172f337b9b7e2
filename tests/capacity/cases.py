"""One P that serves one request a forward, fed by requests of one length: a FIFO server with constant service.

The scheduler launches nothing ahead, no host work lies between two batches (as over TCP), the link is fast and the
router waits for nobody, so every request is served as soon as its forward has ended.
"""

from __future__ import annotations

from pathlib import Path

from ppdsim import compose, library, profile
from ppdsim.scenario import Scenario, load
from ppdsim.simulation.run import simulate

PROFILE = "h200x2_llama-3.1-8b_sglang-0.5.17"
PROMPT_TOKENS = 3000
ONE_FORWARD_EACH = """
schema: ppdsim/scenario/1
question: What does a server with constant service carry?
run_time: under a second
profile: h200x2_llama-3.1-8b_sglang-0.5.17
fleet:
  - {{role: P, count: 1}}
  - {{role: D, count: 1}}
transport: tcp
link_bytes_per_s: 100e9
max_prefill_tokens: 1
disable_overlap_schedule: true
routing: {{policy: always-p, awaits_prefill: false}}
workload:
  kind: generated
  conversations: {conversations}
  arrivals: {{kind: {arrivals}, rate_per_s: {rate}}}
  turns_mean: 1
  first_turn_new_tokens: {{kind: constant, value_tokens: 3000}}
  later_turn_new_tokens: {{kind: constant, value_tokens: 1}}
  output_tokens: {{kind: constant, value_tokens: 2}}
  think_time: {{kind: constant, value_s: 0}}
"""


def one_server(folder: Path, *, arrivals: str, rate: float, conversations: int) -> Scenario:
    path = folder / "one-server.yaml"
    path.write_text(ONE_FORWARD_EACH.format(arrivals=arrivals, rate=rate, conversations=conversations))
    return load(path)


def service_s() -> float:
    """Return the time of one forward, which is how far apart the server ends its requests."""
    curve = compose.central(profile.load(library.find("profile", PROFILE))).prefill
    return float(curve.forward_s(curve.work(PROMPT_TOKENS, 0)))


def idle_ttft_s(folder: Path) -> float:
    """Return the TTFT of a request that meets nobody."""
    alone = one_server(folder, arrivals="fixed", rate=0.01, conversations=1)
    return float(simulate(alone, seed=0).turns["ttft_s"][0])
