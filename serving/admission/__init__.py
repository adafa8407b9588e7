"""Who may use the engine, how much of it, and when: keys, budgets, fair queues, deadlines, brown-out."""
