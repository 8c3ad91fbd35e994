"""Tries everything a deployment needs, and says what is wrong with it, by what evidence, and what to do next."""

from pollerd.deployment.doctor.check import Check, Level
from pollerd.deployment.doctor.runner import Report, examine

__all__ = ["Check", "Level", "Report", "examine"]
