"""Generators and checks for the documentation; `docs/conf.py` runs all of them at each build."""
