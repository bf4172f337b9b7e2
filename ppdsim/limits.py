"""Every limit on what ppdsim reads and runs: its name, its value, its unit, and below it what it bounds and why there.

One table, so that an error can name the limit that it ran into and a reader can find it (docs/reference/limits.md).
A limit is far above what real work needs and low enough that a broken or hostile input ends in a second, not in swap.

Not modelled: limits of the machine (open files, memory); the operating system says those itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from ppdsim.errors import InputError

KIB, MIB, GIB = 2**10, 2**20, 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The largest value of something that is accepted.

    Attributes
    ----------
    name : str
        What errors call it.
    value : int
        The largest value that is accepted, in `unit`.
    unit : str
        What is counted.
    """

    name: str
    value: int
    unit: str

    def refusal(self, where: object, given: str) -> str:
        """Return the text of the error for something above the limit.

        >>> YAML_DEPTH.refusal("a.yaml:3", "nested deeper")
        'a.yaml:3: nested deeper than the limit yaml_depth = 32 levels (docs/reference/limits.md)'
        """
        return f"{where}: {given} than the limit {self.name} = {self.value:,} {self.unit} (docs/reference/limits.md)"

    def check(self, given: float, where: str, *, error: type[InputError] = InputError) -> None:
        """Refuse a number above the limit.

        Parameters
        ----------
        given : float
            The number, in the limit's unit.
        where : str
            What was given: the start of the error.

        Raises
        ------
        InputError
            Or the class that is asked for, with the limit's name and value.
        """
        if given > self.value:
            shown = f"{given:,}" if isinstance(given, int) else f"{given:g}"
            raise error(self.refusal(where, f"given {shown}, more"))


DOCUMENT_BYTES = Limit(name="document_bytes", value=4 * MIB, unit="bytes")
"""One JSON document, unpacked: a profile, a manifest, a model's config.json, a result that is read back. The largest
shipped one has 0.1 MB; checking one takes up to 20 times its size."""
ROWS_BYTES = Limit(name="rows_bytes", value=GIB, unit="bytes")
"""One file of rows, unpacked: points, a trace, measurements, recorded logs. Ten times the largest public trace that is
read whole; longer ones are cut before they are simulated."""
LINE_BYTES = Limit(name="line_bytes", value=4 * MIB, unit="bytes")
"""One line of a file of rows. A request of 10 million tokens lists its blocks in 0.3 MB."""
CSV_FIELD_CHARACTERS = Limit(name="csv_field_characters", value=131_072, unit="characters")
"""One field of a CSV file. The limit of Python's csv module; no column that is read has longer values."""
CSV_COLUMNS = Limit(name="csv_columns", value=1_000, unit="columns")
"""The header of a CSV file. At most 40 are read; each further one is kept beside its row."""
UNPACKED_RATIO = Limit(name="unpacked_ratio", value=200, unit="times the packed size")
"""A gzip file's text, once there are more than 64 MiB of it. Traces pack 4 to 30 times; only a file that was made to
fill a machine packs 1,000 times."""
JSON_DEPTH = Limit(name="json_depth", value=64, unit="levels")
"""Lists and objects inside one another in JSON. The deepest file that is read has 8; deeper ones end Python's own
recursion."""
YAML_BYTES = Limit(name="yaml_bytes", value=64 * KIB, unit="bytes")
"""One YAML file: a scenario, a plan, settings, hardware. The largest shipped one has 4 KB; YAML with line numbers is
read at 0.1 MB/s."""
YAML_NODES = Limit(name="yaml_nodes", value=10_000, unit="values")
"""Keys, values and lists of one YAML file, each alias counted as what it stands for. Nine aliases of nine items each
stand for 9^9 values."""
YAML_DEPTH = Limit(name="yaml_depth", value=32, unit="levels")
"""Blocks inside one another in YAML. The deepest key of a scenario has 6."""
SERVER_INFO_BYTES = Limit(name="server_info_bytes", value=4 * MIB, unit="bytes")
"""What a server says of itself (/server_info). SGLang's has 20 KB."""
SERVER_ANSWER_BYTES = Limit(name="server_answer_bytes", value=64 * KIB, unit="bytes")
"""Any other answer of a server that is no stream, an error's text for one. They are a line or empty."""
STREAM_LINE_BYTES = Limit(name="stream_line_bytes", value=MIB, unit="bytes")
"""One event of a server's stream. An event that repeats an answer of 10,000 tokens has 70 KB."""
STREAM_BYTES = Limit(name="stream_bytes", value=GIB, unit="bytes")
"""A server's stream. An answer of 8,192 tokens that is repeated with every token has 0.3 GB; nothing of it is kept."""
SERVER_TOKENS = Limit(name="server_tokens", value=100_000_000, unit="tokens")
"""A count that a server states: of its pool, its context, a chunk, a prompt. A hundred times the pool of the largest
GPU."""
TOKENS = Limit(name="tokens", value=2**24, unit="tokens")
"""A token count of a point to predict, or of a request of a trace. The longest context of any model is 10 million
tokens."""
TRACE_BLOCKS = Limit(name="trace_blocks", value=2**24, unit="blocks")
"""The blocks of all prompts of a trace that codes them by run length. Six times the shipped trace; one pair of numbers
stands for as many as it likes."""
BATCH = Limit(name="batch", value=1_000_000, unit="streams")
"""The decode batch of a point to predict. A server decodes at most some thousand streams at once."""
PROMPT_CHUNKS = Limit(name="prompt_chunks", value=20_000, unit="chunks")
"""The forwards of one prompt to predict: its tokens by the profile's chunked_prefill_size. Each costs its time; 10
million tokens in chunks of 512 are as many."""
COUNT = Limit(name="count", value=2**31 - 1, unit="of whatever is counted")
"""A count or a number of tokens in a scenario or a trace, where no other limit holds. No context is a thousandth as
long, no pool holds as much."""
NUMBER = Limit(name="number", value=1_000_000_000, unit="of the number's unit")
"""A time, a rate or a factor in a scenario or a trace. 32 years in seconds, 11 days in milliseconds; beyond, arithmetic
overflows."""
CONVERSATIONS = Limit(name="conversations", value=1_000_000, unit="conversations")
"""What one run generates. A run holds 0.3 KB a turn and plays some 10,000 turns a second."""
TURNS = Limit(name="turns", value=10_000_000, unit="turns")
"""What one run generates: its conversations by the mean of their turns. They take 3 GB."""
SEEDS = Limit(name="seeds", value=10_000, unit="seeds")
"""Runs of one scenario with other random numbers: of a sweep's point, a what-if, a capacity. An interval from 1,000 is
the same to its second digit."""
SWEEP_ROWS = Limit(name="sweep_rows", value=1_000_000, unit="rows")
"""The points of a sweep's grid by its seeds. Each is a simulation and a file; a million take a day on a hundred
cores."""
GRID_VALUES = Limit(name="grid_values", value=1_000, unit="values")
"""A list of a scenario, such as the prompt lengths of a crossover. Every value is a simulation or more."""
PLAN_VALUES = Limit(name="plan_values", value=200, unit="values")
"""A list of a calibration plan; two of them span a grid. 40,000 cells take a month to measure."""
SERVERS = Limit(name="servers", value=10_000, unit="servers")
"""The servers of one group of a fleet. Each keeps its own queue and pool."""
DRAWS = Limit(name="draws", value=10_000, unit="draws")
"""The draws of a profile that are simulated for an interval. A profile has 200."""
RESIDENTS = Limit(name="residents", value=100_000, unit="streams")
"""The streams that decode beside the turns of a crossover. A server decodes at most some thousand streams at once."""
CELL_TURNS = Limit(name="cell_turns", value=1_000_000, unit="turns")
"""The turns that one cell of a crossover plays. The mean of 200 has its second digit."""
JOBS = Limit(name="jobs", value=4_096, unit="processes")
"""The processes of a sweep on this machine. More than any machine has cores."""

LIMITS: tuple[Limit, ...] = tuple(found for found in list(globals().values()) if isinstance(found, Limit))
"""Every limit, in the order of the table."""
