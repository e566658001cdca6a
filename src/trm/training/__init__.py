"""Training: the loop, and what it is made of. The parts know nothing of each other."""
