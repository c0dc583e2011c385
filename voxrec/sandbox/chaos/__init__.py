"""``make chaos`` and ``make soak``: real calls while everything that can break breaks, or for very long.

What is owed is told by the phones alone; what was found is measured in the archive's audio and in the mailbox.
"""
