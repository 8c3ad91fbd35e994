"""What commands write to a terminal: safe text, tables, plots, and JSON for programs."""
