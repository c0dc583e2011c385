"""Storage of finished recordings.

The functions block, so run them in a thread pool.
"""
