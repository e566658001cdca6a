"""The networks: layers, the recursion, halting and losses. No input or output, no training loop."""
