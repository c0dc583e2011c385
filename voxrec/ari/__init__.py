"""Client for the Asterisk REST Interface: transports, typed commands, the event websocket. Contains no call policy."""
