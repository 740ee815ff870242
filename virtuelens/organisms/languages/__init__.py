"""The organisms' small Englishes, one module each."""
