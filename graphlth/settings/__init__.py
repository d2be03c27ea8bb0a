"""Settings: their ranges, presets and files."""
