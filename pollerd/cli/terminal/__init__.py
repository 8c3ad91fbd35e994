"""What people see in a terminal: safe words, tables, JSON for programs."""
