"""Known issues of SGLang and what it runs on: what a symptom looks like, what it means, and the command that fixes it.

One table for everything that reads an error or a log: doctor, the servers' logs, the transfer driver. Patterns are from
the programs' own messages.
"""

from __future__ import annotations

from ppdsim.engines.logs import KnownIssue, KnownIssues

SYMPTOMS: tuple[tuple[str, KnownIssue], ...] = (
    (
        r"undefined symbol: _Z\w*?(?:3c10|2at|5torch)|(?:sgl_kernel|common_ops|flash_ops).*undefined symbol",
        KnownIssue(
            name="kernel-package",
            reason="the engine's kernel package was built for another PyTorch",
            fix="pip install --upgrade --no-cache-dir sglang-kernel  # sgl-kernel before SGLang 0.5.10",
        ),
    ),
    (
        r"libibverbs\.so\.1|librdmacm\.so\.1|libmlx5\.so\.1|(?:libnuma|libcurl)\.so\.\d+: cannot open",
        KnownIssue(
            name="rdma-libraries",
            reason="mooncake links the RDMA libraries even for TCP, and they are not installed",
            fix="apt-get install -y libibverbs1 rdma-core libnuma1 libcurl4",
        ),
    ),
    (
        r"[Nn]o RDMA devices? found|No available RNIC|Failed to (?:open|get) .*RDMA device",
        KnownIssue(
            name="no-rdma-device",
            reason="mooncake looked for an RDMA device and this machine has none",
            fix="export MC_FORCE_TCP=1 MC_TCP_ENABLE_CONNECTION_POOL=1  # ppdsim serve --transport tcp sets them",
        ),
    ),
    (
        r"Failed to create QP\b|failed to create QP for peer|Failed to create completion queue|"
        r"Failed to register memory.*(?:Cannot allocate memory|\[12\])",
        KnownIssue(
            name="rdma-resources",
            reason="the RDMA device gave no queue pair or no memory: a limit on locked memory, or too many in use",
            fix="ulimit -l unlimited  # for the servers, then start them again; 'rdma resource' counts queue pairs",
        ),
    ),
    (
        r"Failed to modify QP.* to (?:INIT|RTR|RTS)",
        KnownIssue(
            name="rdma-connect",
            reason="two RDMA ends do not reach each other: GID, MTU or port do not fit",
            fix="export MC_GID_INDEX=3  # on both hosts, the index of a RoCE v2 address in their network: show_gids",
        ),
    ),
    (
        r"invalid device ordinal",
        KnownIssue(
            name="device-ordinal",
            reason="--base-gpu-id counts inside CUDA_VISIBLE_DEVICES, where the device is GPU 0",
            fix="unset CUDA_VISIBLE_DEVICES  # or leave --base-gpu-id out",
        ),
    ),
    (
        r"does not have a Release file|Failed to fetch http|Temporary failure resolving|Could not resolve '|"
        r"404 +Not Found.*(?:ubuntu|debian)|Some index files failed to download",
        KnownIssue(
            name="apt-sources",
            reason="the APT sources name a mirror that does not answer",
            fix="sed -i -E 's,https?://[^ ]+/ubuntu/?( |$),http://archive.ubuntu.com/ubuntu\\1,; "
            "s,https?://[^ ]+/debian/?( |$),http://deb.debian.org/debian\\1,' "
            "$(grep -rlE '^(deb|URIs)' /etc/apt/sources.list*) && apt-get update",
        ),
    ),
    (
        r"CUDA out of memory|OutOfMemoryError|Not enough memory\. Please try to increase|"
        r"max_total_num_tokens.*(?:<=|is not) *0",
        KnownIssue(
            name="out-of-memory",
            reason="the GPU has not enough free memory for the weights and the KV pool",
            fix="nvidia-smi  # what else runs on the GPU? Or lower --max-total-tokens or --mem-fraction",
        ),
    ),
    (
        r"[Aa]ddress already in use|Errno 98|port .* is already in use",
        KnownIssue(
            name="port-taken",
            reason="another program holds the port",
            fix="ss -ltnp  # find who listens there, or choose another port",
        ),
    ),
    (
        r"qwen3_asr' is already used by a Transformers config",
        KnownIssue(
            name="transformers-version",
            reason="this transformers does not go with this SGLang",
            fix="pip install transformers==5.12.1 'huggingface-hub<2'",
        ),
    ),
    (
        r"is installed with version \S+,? which is less than the minimum required|"
        r"flashinfer-cubin version .* does not match",
        KnownIssue(
            name="package-versions",
            reason="packages are installed that do not go with this SGLang",
            fix="ppdsim doctor  # says which versions go together",
        ),
    ),
    (
        r"cannot open shared object file|No module named '?([\w.]+)|ModuleNotFoundError|ImportError",
        KnownIssue(
            name="missing-library",
            reason="a library that the program needs is not installed",
            fix="ppdsim doctor  # says which, and how to install it",
        ),
    ),
    (
        r"tim(?:ed|e) ?out.*KVPoll\.Bootstrapping|KVPoll\.Bootstrapping.*tim(?:ed|e) ?out",
        KnownIssue(
            name="kv-bootstrap-timeout",
            reason="P waited for D to make room for a request: D is out of KV pages, has ended, or was not asked",
            fix="ppdsim doctor --log DECODE.log  # why? or wait longer: SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT=600",
        ),
    ),
    (
        r"tim(?:ed|e) ?out.*KVPoll\.\w+|KVPoll\.\w+.*tim(?:ed|e) ?out",
        KnownIssue(
            name="kv-waiting-timeout",
            reason="D waited for the KV of a request: P is overloaded or has ended, or the link does not carry it",
            fix="ppdsim doctor --log PREFILL.log  # why? or wait longer: SGLANG_DISAGGREGATION_WAITING_TIMEOUT=600",
        ),
    ),
    (
        r"(?:[Dd]ecode|[Pp]refill) instance could be dead|Failed to get kvcache from prefill instance|"
        r"mooncake session \S+ is not alive|Losing connection with prefill instance",
        KnownIssue(
            name="kv-peer-lost",
            reason="the server at the other end of a hand-off has ended, or cannot be reached",
            fix="ppdsim doctor --log OTHER.log  # the log of the other server says why",
        ),
    ),
    (
        r"KVTransferError|KVPoll\.Failed|(?:[Pp]refill|[Dd]ecode) (?:transfer|bootstrap|handshake) failed",
        KnownIssue(
            name="kv-transfer",
            reason="a hand-off of KV failed, or its request was given up",
            fix="ppdsim doctor --log OTHER.log  # P and D fail together: the first error of either says why",
        ),
    ),
    (
        r"\bKilled\b|signal 9|SIGKILL|exit(?:ed)?(?: with)? (?:code|status):? -?9\b|returncode -9",
        KnownIssue(
            name="killed",
            reason="the process was killed, most often because the host ran out of memory",
            fix="dmesg | tail  # says whether the kernel's out-of-memory killer did it",
        ),
    ),
)
"""(pattern, known issue), special before general. Sources: the stack's own troubleshooting notes, SGLang 0.5.17
(disaggregation/mooncake/conn.py, prefill.py, decode.py), Mooncake 0.3 error texts, sgl-project/sglang issue 12688,
kvcache-ai/Mooncake issues 691 and 1845."""
KNOWN_ISSUES = KnownIssues(
    symptoms=SYMPTOMS,
    fatal=("out-of-memory", "port-taken", "device-ordinal", "kernel-package"),
    consequences=("killed", "kv-bootstrap-timeout", "kv-waiting-timeout", "kv-peer-lost", "kv-transfer"),
)
"""
>>> KNOWN_ISSUES.recognise("ImportError: libibverbs.so.1: cannot open shared object file").name
'rdma-libraries'
>>> KNOWN_ISSUES.recognise("all is well") is None
True
"""
