"""What is recorded around SGLang: grids, runs of its own benchmark, and its own records of requests."""

from __future__ import annotations

from ppdsim.engines.records.converted import Records
from ppdsim.engines.sglang.records import bench_serving, grid, metrics_export, time_stats
from ppdsim.engines.sglang.records.recognise import Format, recognise
from ppdsim.engines.sglang.records.time_stats import MARK

RECORDS = Records(
    recognise=recognise,
    converters={
        Format.GRID: grid.convert,
        Format.BENCH_SERVING: bench_serving.convert,
        Format.METRICS_EXPORT: metrics_export.convert,
        Format.TIME_STATS: time_stats.convert,
    },
    expected="JSON lines with 'kind' (grid), 'backend' and 'duration' (bench_serving) or 'request_parameters' "
    f"(--export-metrics-to-file), or a server log with {MARK}...) lines (--enable-request-time-stats-logging)",
)
