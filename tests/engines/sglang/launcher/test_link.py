"""A link that the machine has not is refused before servers would hand over by another one under its name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from machine.machines import FakeMachine

from ppdsim.engines.sglang.launcher.link import refuse_missing_link
from ppdsim.errors import EnvironmentProblem
from ppdsim.types import Transport

MACHINE = FakeMachine()
NO_RDMA = replace(MACHINE, folders={})
OLD_MOONCAKE = replace(MACHINE, versions={**MACHINE.versions, "mooncake-transfer-engine-cuda13": "0.3.11.post1"})


@pytest.mark.parametrize("transport", Transport)
def test_a_machine_that_has_all_links_refuses_none(transport: Transport) -> None:
    refuse_missing_link(transport, MACHINE)


@pytest.mark.parametrize(
    ("transport", "machine", "text"),
    [
        (Transport.RDMA, NO_RDMA, "no RDMA device, hand-offs would fail or go by TCP; take --transport tcp"),
        (Transport.NVLINK, OLD_MOONCAKE, "mooncake-transfer-engine-cuda13 0.3.11.post1 has no NVLink mode"),
        (Transport.NVLINK, OLD_MOONCAKE, "pip install --upgrade 'mooncake-transfer-engine-cuda13>=0.3.13'"),
    ],
)
def test_a_link_that_would_silently_be_another_is_refused(
    transport: Transport, machine: FakeMachine, text: str
) -> None:
    with pytest.raises(EnvironmentProblem) as caught:
        refuse_missing_link(transport, machine)
    assert text in str(caught.value)
    refuse_missing_link(Transport.TCP, machine)
    # Stand-ins on a machine without a GPU need no link.
    refuse_missing_link(transport, replace(machine, cards=()))
