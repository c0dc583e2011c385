"""Registers ``twistd voxrec``."""

from twisted.application.service import ServiceMaker

voxrec = ServiceMaker("voxrec", "voxrec.tap", "Call-recording gateway.", "voxrec")
