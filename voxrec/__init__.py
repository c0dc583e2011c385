"""voxrec: a call-recording gateway that drives Asterisk through ARI."""
