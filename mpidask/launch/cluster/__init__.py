"""How the ranks find together, become one cluster and leave together.

Runs in every rank, from the moment MPI is up to the end: the meeting, the layout, the banner, the two sides of a run
(`server_rank`, `client_rank`) and its teardown. May import every room below: servers, imports, comm, script, resources,
watchdog.
"""
