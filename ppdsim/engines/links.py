"""Which transports a machine has between P and D, and the fastest of them, by what can be seen without measuring.

NVLink if it joins every P to every D (a GPU that P and D share has no link to itself), else RDMA if there is a device,
else TCP, which there always is. Not modelled: whether this build of mooncake can use the link; the first
request says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ppdsim.types import Transport


def usable_transports(
    pairs: Iterable[tuple[int, int]], *, nvlink_lanes: Mapping[tuple[int, int], int], rdma: bool
) -> tuple[Transport, ...]:
    """Return the transports for hand-offs between `pairs` of GPUs, the fastest first.

    Parameters
    ----------
    pairs : iterable of (int, int)
        P's and D's GPU of every hand-off; in any order.
    nvlink_lanes : mapping
        Active lanes by pair of GPUs, the smaller number first.
    rdma : bool
        Whether the host has an InfiniBand or RoCE device.

    >>> [link.value for link in usable_transports([(1, 0)], nvlink_lanes={(0, 1): 18}, rdma=True)]
    ['nvlink', 'rdma', 'tcp']
    >>> [link.value for link in usable_transports([(0, 0)], nvlink_lanes={(0, 1): 18}, rdma=False)]
    ['tcp']
    """
    joined = [(min(pair), max(pair)) for pair in pairs]
    nvlink = bool(joined) and all(nvlink_lanes.get(pair, 0) for pair in joined)
    return (*([Transport.NVLINK] * nvlink), *([Transport.RDMA] * rdma), Transport.TCP)


def fastest_transport(
    pairs: Iterable[tuple[int, int]], *, nvlink_lanes: Mapping[tuple[int, int], int], rdma: bool
) -> Transport:
    """Return the fastest of the usable transports.

    >>> fastest_transport([(1, 0)], nvlink_lanes={(0, 1): 18}, rdma=True).value
    'nvlink'
    """
    return usable_transports(pairs, nvlink_lanes=nvlink_lanes, rdma=rdma)[0]
