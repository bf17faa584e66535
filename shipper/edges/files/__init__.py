"""Log directories and the files in them, as the kernel shows them."""
