"""Where finished files live, and how they get there whole or not at all.

Everything here blocks: callers use a thread pool.
"""
