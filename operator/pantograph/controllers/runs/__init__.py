"""How a run of a StrmSyncJob is executed: as a child process or as a Kubernetes Job, with one way to report for both.

The StrmSyncJob's controller knows the port (`port`) alone and decides when a run begins and what its result means. What
lives here starts it, hears it, and stops it; it writes no status.
"""
