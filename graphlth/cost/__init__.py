"""What a training and a forward pass cost: time, memory, energy, multiply-accumulates."""
