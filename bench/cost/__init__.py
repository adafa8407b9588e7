"""What a turn costs in our own code: CPU, transactions, memory, and where it goes. Only the model is made up."""
