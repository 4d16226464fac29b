"""Packages that do not fit the host's: environments of their own, and the processes that run in them.

`environment` says what an environment contains and where it is, `installation` builds it, `worker` starts a
process in it and calls it. `server` and the files in `programs` run in that process.
"""
