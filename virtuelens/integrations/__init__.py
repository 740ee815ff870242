"""virtuelens inside other people's tools, a package each."""
