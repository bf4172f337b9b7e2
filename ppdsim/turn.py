"""One turn: TTFT, stall gap, stall and J of each arm, from the curves. The only place that composes them.

::

    TTFT(append-d) = in(S) + W + T_ext(m | L) + out
    TTFT(p-*)      = in(S) + W + before + [forward on P, KV on the link] + after + out
    S_D            = T_ext(m | L) - h(T_step),   stall_gap = S_D + T_step
    J              = TTFT + gamma N S
    w(append-d)    = 1.5 T_step - min(T_step, prepare_s)
    w(p-*)         = 0.5 T_step + 0.5 T_step

    without overlap   S_D = T_ext(m | L),   w(append-d) = 0.5 T_step,   w(p-*) = T_step + start_s

The link is FIFO and starts with the early share of the cached prefix that D lacks when the forward starts, then takes
each chunk's KV when P sends it (the rest of the prefix with the first): ``link_free = max(link_free, sent) + wire``. P
launches the second chunk before it handles the first one's result; then it launches one chunk more whenever it has
handled the result of the last but one. So chunk k's KV is sent only when chunk k+1 finishes; the chunks from the third
on begin `request_result_s` late, and `beside_send_s` later where KV is still on the link; the last one of several is
sent `request_result_s` late (`ppdsim.des.prefill_node`). Without overlap every chunk is sent at its own end, and the
next one begins that late.
Where streams decode on D, a turn also waits for D's scheduler (w, means over the phase of the steps). It looks once a
step: an append waits for the end of the running step and the one launched behind it, behind which its own launch hides;
a hand-off until D allocates, and until its KV may join (SGLang 0.5.17 scheduler.py, event_loop_overlap).
The simulator plays the same parts as events, so its idle request and this module agree to rounding. Source:
docs/explanation/model.md. What the engine overlaps is in its record.

Not modelled: hand-offs that D pulls (refused), steps that carry streams and prompts together (the simulator has them).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ppdsim.cost.base import Quantity, maximum, minimum
from ppdsim.cost.decode import DecodeCurve
from ppdsim.cost.frontend import FrontendCurve
from ppdsim.cost.prefill import PrefillCurve, chunks
from ppdsim.cost.stall import StallCurve
from ppdsim.engine_record import EngineRecord, HandoffProtocol
from ppdsim.errors import ProfileError
from ppdsim.transport.handoff import HandoffCurve
from ppdsim.types import Arm, Transport, arm_name


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnModel:
    """The curves of one machine, composed. Parameters may be floats or arrays of draws (see `cost.base`).

    `sender` is the P that hands over to this machine, where it is one of another kind: the forward, its chunks, the
    pages that it has cached and the link are then the sender's; front end, decode and stall stay this machine's.
    """

    prefill: PrefillCurve
    decode: DecodeCurve
    stall: StallCurve
    frontend: FrontendCurve
    handoffs: Mapping[tuple[Arm, Transport], HandoffCurve]
    chunked_prefill_size: int
    page_size_tokens: int
    kv_bytes_per_token: int
    engine: EngineRecord
    sender: TurnModel | None = None

    @property
    def on_p(self) -> TurnModel:
        """Return the machine that prefills what is handed over: the sender, else one like this."""
        return self if self.sender is None else self.sender

    def handoff(self, arm: Arm, transport: Transport) -> HandoffCurve:
        """Return the hand-off curve of an arm and transport.

        Raises
        ------
        ProfileError
            If the profile has none, or one of an engine whose D pulls.
        """
        sender = self.on_p
        handoffs, engine = sender.handoffs, sender.engine
        if engine.handoff_protocol is not HandoffProtocol.PUSH:
            raise ProfileError(
                f"hand-offs of {engine.title}: given handoff_protocol '{engine.handoff_protocol.value}', expected"
                f" '{HandoffProtocol.PUSH.value}', the only one that is modelled"
            )
        try:
            return handoffs[arm, transport]
        except KeyError:
            have = ", ".join(sorted(arm_name(a, t) for a, t in handoffs))
            raise ProfileError(
                f"the profile has no hand-off curve for {arm.value} over {transport.value} (it has: {have})"
            ) from None

    def handoff_to(self, receiver: TurnModel, arm: Arm, transport: Transport) -> HandoffCurve:
        """Return the hand-off of this P to a D with the curves `receiver`, on the narrower side's wire.

        A receiver without that hand-off is taken to be as wide as this side.

        Raises
        ------
        ProfileError
            If this side has no such hand-off.
        """
        curve, other = self.handoff(arm, transport), receiver.handoffs.get((arm, transport))
        return curve if other is None or receiver is self else curve.narrowed_by(other)

    def sent_by(self, sender: TurnModel) -> TurnModel:
        """Return a copy to which a P of another kind hands over, on the narrower side's wire."""
        handoffs = {which: sender.handoff_to(self, *which) for which in sender.handoffs}
        return replace(self, sender=replace(sender, handoffs=handoffs))

    def with_handoff(self, arm: Arm, transport: Transport, curve: HandoffCurve) -> TurnModel:
        """Return a copy in which one arm's hand-off is `curve`."""
        return replace(self, handoffs={**self.handoffs, (arm, transport): curve})

    def without_early_send(self) -> TurnModel:
        """Return a copy whose P sends the cached prefix with the first chunk."""
        curves = {key: replace(curve, early_share=0.0) for key, curve in self.handoffs.items()}
        return replace(self, handoffs=curves)

    def with_rules_of(self, record: EngineRecord) -> TurnModel:
        """Return a copy that follows another release's rules at the same costs."""
        return replace(self, engine=self.engine.with_rules_of(record))

    def with_link(self, bytes_per_s: float) -> TurnModel:
        """Return a copy whose KV moves at `bytes_per_s` over every transport; handshake, sends and join stay."""
        wire_s = self.kv_bytes_per_token / bytes_per_s
        curves = {
            key: replace(curve, wire_s_per_token=wire_s, fresh_wire_s_per_token=0.0)
            for key, curve in self.handoffs.items()
        }
        return replace(self, handoffs=curves)

    def append_ttft_s(self, cached_tokens: Quantity, new_tokens: Quantity) -> Quantity:
        """Return the idle TTFT [s] of an append on D."""
        return self.append_ttft_and_stall_s(cached_tokens, new_tokens, 0.0)[0]

    def handoff_ttft_s(
        self,
        arm: Arm,
        transport: Transport,
        cached_tokens: Quantity,
        new_tokens: Quantity,
        prefill_cached_tokens: Quantity | None = None,
    ) -> Quantity:
        """Return the idle TTFT [s] of a turn prefilled on P.

        `prefill_cached_tokens` is what P has cached: by default the same as D, 0 = P cold.
        """
        curve, sender = self.handoff(arm, transport), self.on_p
        held = cached_tokens if arm is Arm.P_DELTA else cached_tokens * 0
        on_p = cached_tokens if prefill_cached_tokens is None else prefill_cached_tokens
        prompt = cached_tokens + new_tokens
        ready_s = self.frontend.before_s(prompt) + curve.before_s(on_p)
        prefix = maximum(on_p - held, 0)
        link_free_s = ready_s + curve.wire_s(curve.early_share * prefix, held)
        late = (1.0 - curve.early_share) * prefix
        end_s = ready_s
        unsent: Quantity = 0.0
        number, launched_ahead = 0, int(sender.engine.overlap_schedule)
        for number, (start, size) in enumerate(chunks(prompt - on_p, sender.chunked_prefill_size)):
            work = sender.prefill.work(size, on_p + start)
            if number > launched_ahead:  # where no chunk is left, what is unsent is the last one of several
                end_s = end_s + curve.request_result_s * ((size > 0) | (unsent > 0))
                end_s = end_s + curve.beside_send_s * ((size > 0) & (link_free_s > end_s))
            end_s = end_s + sender.prefill.forward_s(work, further=number > 0) * (size > 0)
            if number and launched_ahead:
                link_free_s = maximum(link_free_s, end_s) + curve.wire_s(unsent, held)
            unsent = maximum(minimum(on_p + start + size - held, size), 0) + late
            late = late * 0
            if not launched_ahead:
                link_free_s, unsent = maximum(link_free_s, end_s) + curve.wire_s(unsent, held), 0.0
        if number:
            end_s = end_s + curve.request_result_s * (unsent > 0)
        link_free_s = maximum(link_free_s, end_s) + curve.wire_s(unsent, held)
        return link_free_s + curve.after_s() + self.frontend.after_s()

    def wire_s(self, arm: Arm, transport: Transport, cached_tokens: Quantity, new_tokens: Quantity) -> Quantity:
        """Return for how long the KV of a turn prefilled on P is on a free link, all pieces together [s]."""
        held = cached_tokens if arm is Arm.P_DELTA else cached_tokens * 0
        return self.handoff(arm, transport).wire_s(cached_tokens + new_tokens - held, held)

    def ttft_s(
        self,
        arm: Arm,
        transport: Transport,
        cached_tokens: Quantity,
        new_tokens: Quantity,
        prefill_cached_tokens: Quantity | None = None,
    ) -> Quantity:
        """Return the idle TTFT [s] of a turn on any arm."""
        if arm is Arm.APPEND_D:
            return self.append_ttft_s(cached_tokens, new_tokens)
        return self.handoff_ttft_s(arm, transport, cached_tokens, new_tokens, prefill_cached_tokens)

    def stall_s(
        self, arm: Arm, cached_tokens: Quantity, new_tokens: Quantity, batch: Quantity, context_tokens: Quantity
    ) -> Quantity:
        """Return what one turn takes from each of `batch` streams of `context_tokens` each [s].

        S_D of an append, S_P of a hand-off (independent of the streams).
        """
        if arm is not Arm.APPEND_D:
            return self.stall.handoff_s
        forward_s = self.prefill.seconds(new_tokens, cached_tokens, self.chunked_prefill_size)
        return self.append_stall_s(forward_s, self.decode.step_s(batch, batch * context_tokens))

    def append_stall_s(self, forward_s: Quantity, step_s: Quantity) -> Quantity:
        """Return S_D [s] of an append whose idle forward takes `forward_s` beside steps of `step_s`."""
        return self.stall.append_s(forward_s, step_s) if self.engine.overlap_schedule else forward_s

    def hidden_s(self, step_s: Quantity) -> Quantity:
        """Return for how long a running step of `step_s` can hide the launch of a forward [s]."""
        return step_s if self.engine.overlap_schedule else step_s * 0

    def append_ttft_and_stall_s(
        self, cached_tokens: Quantity, new_tokens: Quantity, step_s: Quantity
    ) -> tuple[Quantity, Quantity]:
        """Return the idle TTFT of an append and its S_D beside steps of `step_s`, whose forward is the same one [s]."""
        forward_s = self.prefill.seconds(new_tokens, cached_tokens, self.chunked_prefill_size)
        ttft_s = self.frontend.before_s(cached_tokens + new_tokens) + forward_s + self.frontend.after_s()
        return ttft_s, self.append_stall_s(forward_s, step_s)

    def step_wait_s(self, arm: Arm, step_s: Quantity) -> Quantity:
        """Return the mean wait [s] of a turn for the scheduler of a D whose streams decode in steps of `step_s`.

        Not modelled: that between its two looks a hand-off takes a whole number of steps.
        """
        overlaps = self.engine.overlap_schedule
        if arm is not Arm.APPEND_D:
            return 2 * (0.5 * step_s) + (0.0 if overlaps else (step_s > 0) * self.decode.start_s)
        return 1.5 * step_s - minimum(step_s, self.prefill.prepare_s) if overlaps else 0.5 * step_s

    def stall_gap_s(
        self, cached_tokens: Quantity, new_tokens: Quantity, batch: Quantity, context_tokens: Quantity
    ) -> Quantity:
        """Return the largest gap [s] that an append opens in `batch` streams of `context_tokens` each."""
        step_s = self.decode.step_s(batch, batch * context_tokens)
        return step_s + self.stall_s(Arm.APPEND_D, cached_tokens, new_tokens, batch, context_tokens)
