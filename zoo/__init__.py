"""Reference models: one folder each with recipe, bundle and numbers."""
