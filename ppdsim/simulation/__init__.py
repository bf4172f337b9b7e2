"""A scenario through the simulator: one run, or all policies on the same conversations."""
