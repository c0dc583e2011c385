"""The HTTP framework on Klein. It knows no resource."""
