"""The discrete-event simulator: one turn after another through prefill nodes, links and decode nodes."""
