"""From a due shipment to a verified object."""
