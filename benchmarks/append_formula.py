"""A published tool's formula for append-prefill beside measurements: docs/explanation/append-prefill-formula.md.

    python benchmarks/append_formula.py [--out FOLDER]

Prints the numbers of that page. --out writes append-prefill-formula.html and, through chromium, its picture.

The formula takes attention of m new tokens on p cached ones from a table without prefixes::

    attention(m | p) = attention(S | 0) * (S^2 - p^2) / S^2,    S = p + m

What is compared with it: decode attention of one token from the same tool's table, the time to read the KV once at the
memory's peak bandwidth, and whole forwards that this project measured.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from transfer import tables

from ppdsim import compose, measurements, profile
from ppdsim.machine import hardware
from ppdsim.types import Arm

ROOT = Path(__file__).resolve().parent.parent
TABLES = ROOT / "calibration/published"
GRIDS = {16: "h200x1_llama-3.1-8b_sglang-0.5.17", 64: "h200x2_llama-3.1-8b_sglang-0.5.17"}
"""The run whose grid holds appends of m tokens up to 32,768 cached ones."""
LAYERS = 32
DRAWN_TOKENS = np.array([512, 1024, 2048, 4096, 8192, 16384, 32768, 65536], dtype=np.float64)
COLOURS = {16: "#d55e00", 64: "#b5509a", "decode": "#0072b2", "bound": "#5b6770"}
NAME = "append-prefill-formula"


class Attention:
    """Attention of a request alone on an H200, all layers of Llama-3.1-8B, from AIConfigurator's table."""

    def __init__(self) -> None:
        context = tables.attention(TABLES, "context").query("gpu == 'H200' and batch == 1").sort_values("tokens")
        decode = tables.attention(TABLES, "generation").query("gpu == 'H200' and batch == 1").sort_values("tokens")
        self._prompt = np.asarray(context["tokens"], dtype=np.float64), np.asarray(context["seconds"]) * LAYERS
        self._decode = np.asarray(decode["tokens"], dtype=np.float64), np.asarray(decode["seconds"]) * LAYERS

    @property
    def longest_prompt_tokens(self) -> float:
        return float(self._prompt[0][-1])

    @property
    def decode_tokens(self) -> np.ndarray:
        return self._decode[0]

    def prompt_s(self, tokens: np.ndarray) -> np.ndarray:
        """Attention of a prompt without prefix; beyond the table it grows with the square."""
        known, seconds = self._prompt
        inside = np.exp(np.interp(np.log(tokens), np.log(known), np.log(seconds)))
        return np.asarray(np.where(tokens > known[-1], seconds[-1] * (tokens / known[-1]) ** 2, inside))

    def decode_s(self, tokens: np.ndarray) -> np.ndarray:
        """Attention of one decode step on a context."""
        known, seconds = self._decode
        return np.asarray(np.exp(np.interp(np.log(tokens), np.log(known), np.log(seconds))))

    def formula_s(self, new: float, cached: np.ndarray) -> np.ndarray:
        """The formula: attention of `new` tokens on `cached` ones."""
        total = cached + new
        return np.asarray(self.prompt_s(total) * (total**2 - cached**2) / total**2)


def measured_forwards(new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return cached tokens, the median and the least forward [s] of appends by the server's own clocks."""
    rows: dict[int, list[float]] = {}
    for row in measurements.read(ROOT / "calibration/measurements" / GRIDS[new]).prefill:
        if row.arm is not Arm.APPEND_D or row.new_tokens != new:
            continue
        if row.server_prefill_finished_s is not None and row.server_forward_entry_s is not None:
            forward_s = row.server_prefill_finished_s - row.server_forward_entry_s
            rows.setdefault(int(row.cached_tokens), []).append(forward_s)
    cached = np.array(sorted(rows), dtype=np.float64)
    return cached, np.array([np.median(rows[int(c)]) for c in cached]), np.array([min(rows[int(c)]) for c in cached])


def kv_read_s(tokens: np.ndarray) -> np.ndarray:
    """Seconds to read the KV of `tokens` once at an H200's peak bandwidth: nothing that attends to them is faster."""
    kv = profile.load(ROOT / "calibration/profiles" / f"{GRIDS[64]}.json").model.kv_bytes_per_token
    return np.asarray(tokens * kv / hardware.gpus()["H200"].memory_bandwidth_bytes_per_s)


def table(attention: Attention) -> str:
    lines = [
        "attention of all 32 layers [ms], one request, H200",
        f"{'cached':>8}{'formula m=16':>14}{'formula m=64':>14}{'decode, 1 token':>17}{'KV read at peak':>17}",
    ]
    for tokens in DRAWN_TOKENS:
        at = np.array([tokens])
        columns = [attention.formula_s(16, at), attention.formula_s(64, at), attention.decode_s(at), kv_read_s(at)]
        note = "  prompt extrapolated" if tokens + 64 > attention.longest_prompt_tokens else ""
        cells = "".join(f"{1e3 * float(c[0]):>{w}.3f}" for c, w in zip(columns, (14, 14, 17, 17), strict=True))
        lines.append(f"{tokens:>8.0f}{cells}{note}")
    lines += [
        "",
        "whole forward [ms], measured: median (least); formula: forward on an empty cache, plus its attention",
    ]
    middle = compose.central(profile.load(ROOT / "calibration/profiles" / f"{GRIDS[64]}.json"))
    longest = longest_decode_tokens()
    for new in GRIDS:
        cached, median, least = measured_forwards(new)
        predicted = least[0] + attention.formula_s(new, cached) - attention.formula_s(new, np.zeros(1))
        lines.append(f"m = {new}: {'cached':>8}{'measured':>18}{'formula':>10}{'decode step':>13}")
        for c, m, low, p in zip(cached, median, least, predicted, strict=True):
            step = float(np.asarray(middle.decode.step_s(1.0, c)))
            note = "  step extrapolated" if c > longest else ""
            lines.append(f"{c:>16.0f}{1e3 * m:>10.2f} ({1e3 * low:.2f}){1e3 * p:>10.2f}{1e3 * step:>13.2f}{note}")
    return "\n".join(lines)


def longest_decode_tokens() -> float:
    """Longest context of the measured decode cells [tokens]."""
    return profile.load(ROOT / "calibration/profiles" / f"{GRIDS[64]}.json").curve("decode").domain["context_tokens"][1]


def figure(attention: Attention) -> go.Figure:
    fig = go.Figure()
    x = DRAWN_TOKENS
    inside = x + 64 <= attention.longest_prompt_tokens
    for new in GRIDS:
        y = 1e3 * attention.formula_s(new, x)
        line = {"color": COLOURS[new], "width": 2.5}
        fig.add_scatter(x=x[inside], y=y[inside], mode="lines", line=line, name=f"formula, m = {new}")
        tail = ~inside | np.append(~inside[1:], True)
        fig.add_scatter(x=x[tail], y=y[tail], mode="lines", line={**line, "dash": "dash"}, showlegend=False)
    known = attention.decode_tokens[attention.decode_tokens >= x[0]]
    decode = {"color": COLOURS["decode"], "width": 2.5}
    fig.add_scatter(
        x=known, y=1e3 * attention.decode_s(known), mode="lines+markers", line=decode, name="decode, one token"
    )
    bound = {"color": COLOURS["bound"], "width": 1.5, "dash": "dot"}
    fig.add_scatter(x=x, y=1e3 * kv_read_s(x), mode="lines", line=bound, name="reading the KV once at peak bandwidth")
    middle = compose.central(profile.load(ROOT / "calibration/profiles" / f"{GRIDS[64]}.json"))
    contexts, longest = np.linspace(0, 32768, 65), longest_decode_tokens()
    step = 1e3 * np.asarray(middle.decode.step_s(1.0, contexts))
    right = {"xaxis": "x2", "yaxis": "y2", "showlegend": False}
    for here, dash in ((contexts <= longest, "solid"), (contexts >= longest - 512, "dash")):
        fig.add_scatter(x=contexts[here], y=step[here], mode="lines", line={**decode, "dash": dash}, **right)
    for new in GRIDS:
        cached, median, least = measured_forwards(new)
        predicted = least[0] + attention.formula_s(new, cached) - attention.formula_s(new, np.zeros(1))
        colour = COLOURS[new]
        spread = {"type": "data", "array": np.zeros(len(cached)), "arrayminus": 1e3 * (median - least)}
        marker = {"color": colour, "size": 9}
        fig.add_scatter(
            x=cached,
            y=1e3 * median,
            error_y=spread,
            mode="markers",
            marker=marker,
            name=f"measured, m = {new}",
            xaxis="x2",
            yaxis="y2",
        )
        inside = cached + new <= attention.longest_prompt_tokens
        for here, dash in ((inside, "solid"), (~inside | np.append(~inside[1:], True), "dash")):
            line = {"color": colour, "width": 2.5, "dash": dash}
            fig.add_scatter(x=cached[here], y=1e3 * predicted[here], mode="lines", line=line, **right)
    ticks = [512, 2048, 8192, 32768]
    fig.update_layout(
        template="plotly_white",
        width=1180,
        height=520,
        font={"family": "Liberation Sans, Arial, sans-serif", "size": 13},
        margin={"l": 70, "r": 20, "t": 70, "b": 110},
        legend={"orientation": "h", "y": -0.2},
        xaxis={
            "domain": [0, 0.46],
            "type": "log",
            "title": {"text": "cached tokens [tokens]"},
            "tickvals": ticks,
            "ticktext": [f"{t:,}" for t in ticks],
        },
        yaxis={
            "type": "log",
            "title": {"text": "attention, 32 layers [ms]"},
            "tickvals": [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5],
        },
        xaxis2={"domain": [0.54, 1], "anchor": "y2", "title": {"text": "cached tokens [tokens]"}, "tickformat": ","},
        yaxis2={"anchor": "x2", "rangemode": "tozero", "title": {"text": "whole forward [ms]"}},
    )
    for place, text in (
        (
            0.0,
            "<b>Attention alone</b>, one request on an H200. The formula for 16 new<br>tokens lies below decoding one, "
            "and below reading the KV. Dashed: extrapolated",
        ),
        (
            0.54,
            "<b>Whole forward</b>, H200. Dots: measured median, bar down to the least;<br>lines: formula on top of the "
            "least at 0. Blue: decode step, dashed beyond 8,256",
        ),
    ):
        fig.add_annotation(
            text=text, x=place, y=1.15, xref="paper", yref="paper", xanchor="left", align="left", showarrow=False
        )
    return fig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for the figure")
    chosen = parser.parse_args()
    attention = Attention()
    print(table(attention))
    if chosen.out is None:
        return
    chosen.out.mkdir(parents=True, exist_ok=True)
    page = chosen.out / f"{NAME}.html"
    figure(attention).write_html(page, include_plotlyjs=True, config={"displayModeBar": False})
    print(f"wrote {page}")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("no chromium on the PATH: no picture")
        return
    picture = chosen.out / f"{NAME}.png"
    options = [
        "--headless",
        "--no-sandbox",
        "--hide-scrollbars",
        "--window-size=1200,540",
        "--virtual-time-budget=4000",
    ]
    subprocess.run(
        [chromium, *options, f"--screenshot={picture}", page.resolve().as_uri()], check=True, capture_output=True
    )
    print(f"wrote {picture}")


if __name__ == "__main__":
    main()
