"""Tests everything that a call of a Profile depends on, and names the settings that apply to it."""
