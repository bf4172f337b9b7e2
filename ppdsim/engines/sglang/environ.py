"""SGLang's numbers for retraction and admission, by the environment variable that sets each (0.5.17, environ.py)."""

from __future__ import annotations

INIT_NEW_TOKEN_RATIO = 0.7
"""``SGLANG_INIT_NEW_TOKEN_RATIO`` [1]."""
MIN_NEW_TOKEN_RATIO_FACTOR = 0.14
"""``SGLANG_MIN_NEW_TOKEN_RATIO_FACTOR``, lowest ratio as a share of the first [1]."""
NEW_TOKEN_RATIO_DECAY_STEPS = 600
"""``SGLANG_NEW_TOKEN_RATIO_DECAY_STEPS``, from the first ratio to the lowest [decode steps]."""
RETRACT_DECODE_STEPS = 20
"""``SGLANG_RETRACT_DECODE_STEPS``, steps that a retraction makes room for [decode steps]."""
CLIP_MAX_NEW_TOKENS = 4096
"""``SGLANG_CLIP_MAX_NEW_TOKENS_ESTIMATION``, most that one answer counts for [tokens]."""
