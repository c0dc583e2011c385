"""What SIP and the dialplan say of a call: identities, dialled numbers, statuses, causes, and limits of loops."""
