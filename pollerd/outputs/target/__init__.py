"""Outputs into databases: the rules that hold whichever database it is."""

from pollerd.outputs.target.engine import Execute, LostError, RefusedError, Target, TargetError
from pollerd.outputs.target.output import TargetOutput

__all__ = ["Execute", "LostError", "RefusedError", "Target", "TargetError", "TargetOutput"]
