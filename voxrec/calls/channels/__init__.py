"""The channels and the bridge of a call in Asterisk: their ids, their creation, and the state in their variables."""
