"""The authentication of clients: passwords, second factors, single sign-on, sessions, users and tokens."""
