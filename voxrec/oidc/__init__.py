"""Sign-in at an OpenID Connect provider: authorization code flow with PKCE, and validation of ID tokens."""
