"""The dashboard: for whom it opens, and the page "Ranks".

Runs beside a scheduler, and its pure parts wherever a link is printed. May import nothing but Dask, rich, compat and
configuration.
"""
