"""Which batch system a class means here."""

from __future__ import annotations

from mpidask import configuration
from mpidask.batch import commands, registry
from mpidask.batch.system import BatchSystem

__all__ = ["system_for"]


def system_for(native: str) -> BatchSystem:
    """Return the batch system that is meant by the class of that name: PBS may be Torque here, too."""
    variant = {"pbs": "torque"}.get(native)
    if variant is None:
        return registry.find(native)
    system, other = registry.find(native), registry.find(variant)
    if configuration.section("batch").get("system") == variant:
        return other
    silent = commands.installed(other.detect) and not registry.answers(system)
    return other if silent and registry.answers(other) else system
