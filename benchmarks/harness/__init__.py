"""What all scripts share: problems by name, errors against exact draws, methods, reports."""
