"""Evaluation: running a trained model on examples, and the figures of its answers."""
