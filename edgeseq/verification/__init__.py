"""Whether a bundle computes here what it computed where it was exported: its goldens, replayed and judged."""
