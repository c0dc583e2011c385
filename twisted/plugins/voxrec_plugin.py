"""Makes ``twistd voxrec`` known."""

from twisted.application.service import ServiceMaker

voxrec = ServiceMaker("voxrec", "voxrec.tap", "Record calls: a gateway that drives Asterisk through ARI.", "voxrec")
