"""Asking a batch system about jobs: questions, answers, and jobs whose ids are not known.

Runs wherever a job is looked at or waited for, outside an allocation. May import the rooms `records` and `scripts`, and
what these stand on.
"""
