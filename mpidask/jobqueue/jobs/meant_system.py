"""Which batch system a class means here."""

from __future__ import annotations

from mpidask import configuration
from mpidask.batch import registry
from mpidask.batch.commands import runner
from mpidask.batch.system import BatchSystem
from mpidask.jobqueue.keywords.profile import system_of

__all__ = ["system_for"]


def system_for(native: str, profile: str | None = None) -> BatchSystem:
    """Return the batch system that is meant by the class of that name: a profile's variant; PBS may be Torque, too."""
    named = system_of(native, profile)
    if named != native:
        return registry.find(named)
    variant = {"pbs": "torque"}.get(native)
    if variant is None:
        return registry.find(native)
    system, other = registry.find(native), registry.find(variant)
    if configuration.section("batch").get("system") == variant:
        return other
    silent = runner.installed(other.detect) and not registry.answers(system)
    return other if silent and registry.answers(other) else system
