"""``make chaos`` and ``make soak``: real calls during injected faults, and thousands of calls in sequence.

The expected results come from the phones only; the found ones are measured in the archived audio and in the mailbox.
"""
