"""Pure functions over audio files: probe, repair, resample, join, convert, measure and draw.

The functions block, so run them in a thread pool. They read files in blocks, so memory use does not depend on the
length. soundfile (libsndfile) reads and writes every format except plain PCM and G.722; numpy does the arithmetic.
"""
