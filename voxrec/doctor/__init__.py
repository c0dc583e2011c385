"""The checks of ``voxrec doctor``: whether each condition of a working installation is met, and what to do if not."""
