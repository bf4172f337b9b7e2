"""Random small scenes for properties: any roles, tight memory, several turns, every policy."""

from __future__ import annotations

from des.costs import cost_model, fleet, talk
from hypothesis import strategies as st

from ppdsim.routing import AlwaysD, AlwaysP, CostAware, Threshold
from ppdsim.types import Transport

FLEETS = ("U", "U U", "P D", "P pD", "P P D", "P pD pD", "P D D", "P P pD D U")


@st.composite
def scenes(draw):
    """Draw (fleet, conversations, policy)."""
    model = cost_model(
        chunk=draw(st.sampled_from([64, 128, 512])),
        page=draw(st.sampled_from([1, 4, 16])),
        stall={"handoff_s": draw(st.sampled_from([0.0, 0.002]))},
        link={
            "wire_s_per_token": draw(st.sampled_from([1e-6, 1e-4])),
            "early_share": draw(st.sampled_from([0.0, 0.5, 1.0])),
        },
    )
    roles = draw(st.sampled_from(FLEETS))
    spec = fleet(
        roles,
        model,
        pool=draw(st.sampled_from([900, 1500, 3000, 100_000])),
        decode_radix=draw(st.booleans()),
        num_reserved_decode_tokens=draw(st.sampled_from([0, 16, 64])),
        overlap_schedule=draw(st.booleans()),
        residents=draw(st.sampled_from([0, 0, 3])) if len(roles) <= 4 else 0,
        resident_context_tokens=40,
        max_running_requests=draw(st.sampled_from([3, 100, 2048])),
        max_prefill_tokens=draw(st.sampled_from([64, 16_384])),
    )
    policy = draw(
        st.sampled_from(
            [
                AlwaysP(),
                AlwaysD(),
                Threshold(threshold_tokens=60),
                CostAware(model=model, transport=Transport.TCP, gamma=1.0),
            ]
        )
    )
    gap = draw(st.sampled_from([0.005, 0.05, 0.5]))
    longest, answer = draw(st.sampled_from([40, 400, 900])), draw(st.sampled_from([5, 60, 200]))
    turn = st.tuples(st.integers(1, longest), st.integers(1, answer), st.floats(0.0, 0.3))
    talks = draw(
        st.lists(st.tuples(st.floats(0.0, 1.0), st.lists(turn, min_size=1, max_size=4)), min_size=1, max_size=12)
    )
    time, conversations = 0.0, []
    for number, (wait, turns) in enumerate(talks):
        time += gap * wait
        conversations.append(talk(number, time, *turns))
    return spec, conversations, policy
