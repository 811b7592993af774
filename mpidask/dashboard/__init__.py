"""The dashboard: for whom it opens, and the page "Ranks"."""
