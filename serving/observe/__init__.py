"""What an operator sees: metrics, traces, logs, and `keepword top`. README.md lists every metric; a test holds it to that."""
