"""Things happen in time: planning, executors, jobs, leases, signals, progress and the mirror process."""
