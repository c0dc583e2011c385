"""Pure functions over audio files: probe, repair, join the legs, verdict, peaks.

They block, so callers run them in a thread pool; they read in blocks, so that hours of audio need no more memory than
a minute. libsndfile (through soundfile) does every format but the plainest, numpy the arithmetic.
"""
