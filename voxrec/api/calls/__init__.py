"""The live calls of all nodes: their list, their control, and listening to them."""
