"""Bulk exports: the file formats, the spreadsheet, and the handler that writes the file of an export."""
