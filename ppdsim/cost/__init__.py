"""Cost curves: seconds of engine work as a function of token counts."""
