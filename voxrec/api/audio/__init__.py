"""The audio of Recordings: download, conversion, upload, and waveform."""
