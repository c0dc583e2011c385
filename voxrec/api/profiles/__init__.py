"""Profiles: whom to call and how to record, with their announcements and checks."""
