"""Live listening: the audio of live calls for persons who are permitted to hear them."""
