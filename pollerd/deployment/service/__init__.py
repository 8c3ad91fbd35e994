"""Puts the systemd service in place, and takes it away again."""

from pollerd.deployment.service.install import install_plan
from pollerd.deployment.service.plan import Action, Plan, Step, carry_out
from pollerd.deployment.service.uninstall import uninstall_plan

__all__ = ["Action", "Plan", "Step", "carry_out", "install_plan", "uninstall_plan"]
