"""The batch systems that are known: one file of facts each."""
