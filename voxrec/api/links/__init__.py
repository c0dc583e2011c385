"""Expiring links to Recordings, and the pages behind them."""
