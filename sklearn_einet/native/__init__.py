"""The compiled part, and the only place that knows whether it is built."""

from sklearn_einet.native.calls import available, instruction_set, instruction_sets, use

__all__ = ["available", "instruction_set", "instruction_sets", "use"]
