"""What a turn costs in our own code: CPU, transactions, memory, and where it goes. The model is instant, everything else real."""
