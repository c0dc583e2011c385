"""Descriptions of PostgreSQL's errors for the log."""

import psycopg2


def describe_error(error: Exception) -> str:
    """Return an error as one clause for the log.

    Of PostgreSQL's errors, only the primary message: the others (DETAIL, CONTEXT, and the statement around the position
    of the error) contain values of rows and parameters, such as numbers and names.
    """
    if isinstance(error, psycopg2.Error):
        return error.diag.message_primary or type(error).__name__
    return str(error)
