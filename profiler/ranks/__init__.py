"""Who am I among the processes of a job."""
