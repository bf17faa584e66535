"""One module per thing outside the process. Foreign errors become ``PortError`` here."""
