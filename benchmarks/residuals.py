"""What the errors of the shipped profiles have to do with: residuals beside candidates for a cause.

    python benchmarks/residuals.py

The numbers of docs/design/accuracy.md that are in no table of `benchmarks/accuracy.py`.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from ppdsim import compose, measurements, profile
from ppdsim.fit.cells import Cells, grid
from ppdsim.fit.crossval import predict_cells
from ppdsim.measurements import Measurements
from ppdsim.profile import Profile
from ppdsim.types import Arm
from ppdsim.validate.loads import loads_of, replay

HERE = Path(__file__).parent.parent / "calibration"
LIVE = "h200x1_llama-3.1-8b_sglang-0.5.17"
GRID = "h200x2_llama-3.1-8b_sglang-0.5.17"
PINNED = "h200x1_llama-3.1-8b_sglang-0.5.17_pinned"
PAIR = "h100x2_llama-3.1-8b_sglang-0.5.17"
MS = 1e3


def beside_a_batch(run: Measurements, fitted: Profile) -> None:
    """Appends injected into decoding streams: their TTFT beside the idle one, and what the streams lost, two ways."""
    model = compose.central(fitted)
    cells = grid(run).append
    idle = {(c, m): s for c, m, s in zip(cells.cached_tokens, cells.new_tokens, cells.seconds, strict=True)}
    extra, gap_hidden, window_hidden = [], [], []
    for row in run.interference:
        at = (float(row.cached_tokens), float(row.new_tokens))
        if row.arm is not Arm.APPEND_D or at not in idle:
            continue
        forward = float(np.asarray(model.prefill.seconds(at[1], at[0], model.chunked_prefill_size)))
        steps = zip(row.append_ttft_s, row.stall_gap_s, row.window_sum_s, row.window_gaps, strict=True)
        for ttft, gap, total, gaps in steps:
            extra.append((ttft - idle[at]) / row.itl_base_s)
            gap_hidden.append(forward - (gap - row.itl_base_s))
            window_hidden.append(forward - (total - gaps * row.itl_base_s))
    low, middle, high = np.quantile(extra, [0.1, 0.5, 0.9])
    print(f"  appends injected into streams ({len(extra)}): TTFT beyond the idle one {middle:+.2f} steps", end="")
    print(f" (10th to 90th percentile {low:+.2f} to {high:+.2f})")
    print(f"    T_ext less the loss in the largest gap: median {MS * np.median(gap_hidden):.1f} ms", end="")
    print(f"; less the loss over the whole window: {MS * np.median(window_hidden):.1f} ms")
    hidden = float(model.stall.launch_s) - float(model.decode.step_s(4.0, 4.0 * 1059.0))
    print(f"    launch_s - T_step at four streams: {MS * hidden:.1f} ms")


def steps_of_d(run: Measurements) -> None:
    """Streams that decode undisturbed, on a unified server and on the D of a pair: the median step at every batch."""
    steps: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in run.interference:
        steps[row.batch]["U" if row.arm is Arm.APPEND_D else "D"].append(row.itl_base_s)
    for batch, by_role in sorted(steps.items()):
        if len(by_role) == 2:
            one, other = (float(np.median(by_role[role])) for role in ("U", "D"))
            print(f"  {batch} streams undisturbed: U {MS * one:.2f} ms, D {MS * other:.2f} ms ({other / one - 1:+.1%})")


def chunks_over_a_link(run: Measurements, fitted: Profile) -> None:
    """Held-out hand-offs of several chunks, whose forwards and transfers overlap: measured and predicted."""
    model = compose.central(fitted)
    for cells in grid(run, "validation").handoffs:
        long = np.flatnonzero(cells.new_tokens > model.chunked_prefill_size)
        predicted = predict_cells(model, cells)
        for i in long:
            print(
                f"  {cells.arm.value}:{cells.transport.value}, L = {cells.cached_tokens[i]:.0f}, "
                f"m = {cells.new_tokens[i]:.0f}: measured {MS * cells.seconds[i]:.0f} ms (half-range of repeats "
                f"{100 * np.nan_to_num(cells.noise[i]):.0f} %), predicted {MS * predicted[i]:.0f}"
            )


def two_floors(run: Measurements, fitted: Profile) -> None:
    """Short held-out appends: the server's own span of the forward beside the fitted one, and the probes' range."""
    model, cells = compose.central(fitted), grid(run, "validation").append
    forward = np.asarray(model.prefill.seconds(cells.new_tokens, cells.cached_tokens, model.chunked_prefill_size))
    spans = cells.seconds - cells.outside_s
    for i in range(len(cells)):
        print(
            f"  append L = {cells.cached_tokens[i]:.0f}, m = {cells.new_tokens[i]:.0f}: server's own span "
            f"{MS * spans[i]:.1f} ms, T_ext {MS * forward[i]:.1f}; outside it {MS * cells.outside_s[i]:.1f} ms, "
            f"front end {MS * float(model.frontend.before_s(cells.cached_tokens[i]) + model.frontend.after_s()):.1f}"
        )
    probes = [row for row in run.prefill if row.purpose == "probe" and row.arm is Arm.APPEND_D]
    if not probes:
        return
    inside = [(row.server_prefill_finished_s or 0.0) - (row.server_forward_entry_s or 0.0) for row in probes]
    client = [row.ttft_s - span for row, span in zip(probes, inside, strict=True)]
    for name, values in (("the forward itself", inside), ("outside it", client)):
        low, middle, high = MS * np.quantile(values, [0.05, 0.5, 0.95])
        print(f"  {len(probes)} probes (L = 0, m = 64), {name}: {low:.1f} / {middle:.1f} / {high:.1f} ms (5, 50, 95 %)")


def by_block(run: Measurements, cached_tokens: int, longest_tokens: int) -> None:
    """Short appends on one prefix: the median span of the forward in every block in which they were measured."""
    blocks: dict[int, list[float]] = defaultdict(list)
    for row in run.prefill:
        short = row.cached_tokens == cached_tokens and row.new_tokens <= longest_tokens
        if row.arm is Arm.APPEND_D and short and row.block is not None:
            blocks[row.block].append((row.server_prefill_finished_s or 0.0) - (row.server_forward_entry_s or 0.0))
    words = ", ".join(f"{MS * np.median(spans):.1f}" for _, spans in sorted(blocks.items()))
    print(f"  appends of up to {longest_tokens} on L = {cached_tokens}, span of the forward by block [ms]: {words}")


def by_candidate(name: str, cells: Cells, fitted: Profile) -> None:
    """Median residual of a group of cells by new tokens and by cached tokens."""
    error = predict_cells(compose.central(fitted), cells) / cells.seconds - 1.0
    for column in ("new_tokens", "cached_tokens"):
        groups: dict[float, list[float]] = defaultdict(list)
        for value, e in zip(getattr(cells, column), error, strict=True):
            groups[float(value)].append(float(e))
        words = ", ".join(f"{value:g}: {100 * np.median(found):+.0f}" for value, found in sorted(groups.items()))
        print(f"  {name} of the other run by {column}, median error in %: {words}")


def in_load(run: Measurements, fitted: Profile) -> None:
    """Later turns of the loads: the residual of TTFT beside the prompt's length, the new tokens, and being alone."""
    for (name, arm, _), rows in loads_of(run).items():
        turns = replay(fitted, run, rows)
        simulated = {
            (str(c), int(t)): s
            for c, t, s in zip(turns["conversation_id"], turns["turn"], turns["ttft_s"], strict=True)
        }
        later = [row for row in rows if row.turn]
        rest = np.array([row.ttft_s - simulated[row.conversation_id, row.turn] for row in later])
        prompt = np.array([row.cached_tokens + row.new_tokens for row in later])
        new = np.array([row.new_tokens for row in later])
        words = [f"{label} {np.corrcoef(x, rest)[0, 1]:+.2f}" for label, x in (("prompt", prompt), ("new", new))]
        print(
            f"  load {name}, {arm}: measured less simulated TTFT of later turns, median "
            f"{MS * np.median(rest):+.1f} ms; correlation with {', '.join(words)}"
        )


def main() -> None:
    runs = {name: measurements.read(HERE / "measurements" / name) for name in (LIVE, PINNED, GRID, PAIR)}
    fitted = {name: profile.load(HERE / "profiles" / f"{name}.json") for name in runs}
    for name, run in runs.items():
        print(name)
        if any(row.arm is Arm.APPEND_D for row in run.interference):
            beside_a_batch(run, fitted[name])
        steps_of_d(run)
        two_floors(run, fitted[name])
        chunks_over_a_link(run, fitted[name])
        in_load(run, fitted[name])
    print(f"{LIVE}, by block")
    for cached_tokens in (1024, 2048, 4096):
        by_block(runs[LIVE], cached_tokens, 320)
    for name in (LIVE, PAIR):
        print(f"{name}, by the profile of {GRID}")
        for group in grid(runs[name]).handoffs:
            if (group.arm, group.transport) in compose.central(fitted[GRID]).handoffs:
                by_candidate(f"{group.arm.value}:{group.transport.value}", group, fitted[GRID])


if __name__ == "__main__":
    main()
