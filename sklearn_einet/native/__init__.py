"""The compiled part; no other folder knows whether it is built."""

from sklearn_einet.native.calls import available, instruction_set, instruction_sets, use
from sklearn_einet.native.missing import cause_of_absence, warn_if_missing

__all__ = [
    "available",
    "cause_of_absence",
    "instruction_set",
    "instruction_sets",
    "use",
    "warn_if_missing",
]
