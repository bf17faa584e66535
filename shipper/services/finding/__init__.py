"""From directory entries to promises in the journal."""
