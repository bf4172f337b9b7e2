"""A stand-in engine: speaks what a calibration uses of SGLang, and takes its time from a profile.

The engine itself (`core`, `batch`, `unified`, `decode`, `prefill`) is a state machine on a clock; it knows neither HTTP
nor sockets. `server` puts HTTP around it. docs/explanation/stand-in.md says what it does as SGLang does, and what it
does not.
"""
