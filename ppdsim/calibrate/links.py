"""Which transport to take between P and D: the fastest that the machine has, by what can be seen without measuring.

NVLink mode if this mooncake has it and it reaches from every P to every D, else RDMA if there is a device, else TCP.
Within a GPU that P and D share, NVLink mode copies on the device; there it needs no link (tried on an H100).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ppdsim.types import Transport


def fastest_transport(
    pairs: Iterable[tuple[int, int]], *, nvlink_lanes: Mapping[tuple[int, int], int], in_node: bool, rdma: bool
) -> Transport:
    """Return the transport for hand-offs between `pairs` of GPUs.

    Parameters
    ----------
    pairs : iterable of (int, int)
        P's and D's GPU of every hand-off; in any order.
    nvlink_lanes : mapping
        Active lanes by pair of GPUs, the smaller number first.
    in_node : bool
        Whether this build of mooncake has the mode that copies inside a host.
    rdma : bool
        Whether the host has an InfiniBand or RoCE device.

    >>> fastest_transport([(1, 0)], nvlink_lanes={(0, 1): 18}, in_node=True, rdma=True).value
    'nvlink'
    >>> fastest_transport([(1, 0)], nvlink_lanes={(0, 1): 18}, in_node=False, rdma=False).value
    'tcp'
    >>> fastest_transport([(0, 0)], nvlink_lanes={}, in_node=True, rdma=False).value
    'nvlink'
    """
    joined = [(min(pair), max(pair)) for pair in pairs]
    if in_node and joined and all(a == b or nvlink_lanes.get((a, b), 0) for a, b in joined):
        return Transport.NVLINK
    return Transport.RDMA if rdma else Transport.TCP
