"""The page at ``/``: the status as HTML, for a browser without scripts."""
