"""Processes of a job: rank detection, rendezvous on a run directory, and the leader of each node."""
