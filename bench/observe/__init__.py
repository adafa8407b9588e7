"""What watching costs: metrics, traces and log lines, in CPU time of the desk's own process."""
