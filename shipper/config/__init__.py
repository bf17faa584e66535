"""Configuration: the classes whose fields are its keys, and how files become them."""
