"""Which transport to take between P and D: the fastest that the machine has, by what can be seen without measuring.

NVLink if it joins every P to every D (a GPU that P and D share has no link to itself), else RDMA if there is a device,
else TCP. What it does not know: whether this build of mooncake can use the link; the first request says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ppdsim.types import Transport


def fastest_transport(
    pairs: Iterable[tuple[int, int]], *, nvlink_lanes: Mapping[tuple[int, int], int], rdma: bool
) -> Transport:
    """Return the transport for hand-offs between `pairs` of GPUs.

    Parameters
    ----------
    pairs : iterable of (int, int)
        P's and D's GPU of every hand-off; in any order.
    nvlink_lanes : mapping
        Active lanes by pair of GPUs, the smaller number first.
    rdma : bool
        Whether the host has an InfiniBand or RoCE device.

    >>> fastest_transport([(1, 0)], nvlink_lanes={(0, 1): 18}, rdma=True).value
    'nvlink'
    >>> fastest_transport([(0, 0)], nvlink_lanes={(0, 1): 18}, rdma=False).value
    'tcp'
    """
    joined = [(min(pair), max(pair)) for pair in pairs]
    if joined and all(nvlink_lanes.get(pair, 0) for pair in joined):
        return Transport.NVLINK
    return Transport.RDMA if rdma else Transport.TCP
