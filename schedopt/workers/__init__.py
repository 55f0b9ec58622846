"""Processes that search together: of this machine, or of a Dask cluster."""
