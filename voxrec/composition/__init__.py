"""Builds the service tree above the database: one module for each subsystem, `voxrec.composition.gateway` for all."""
