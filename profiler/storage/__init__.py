"""The run directory: schema, writer, reader and validation."""
