"""Schedule files, benchmark files and presets: their schema, reading and writing."""
