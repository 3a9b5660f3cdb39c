"""``echoexport tune``: the command, what it is measured on, and how it is told and written."""
