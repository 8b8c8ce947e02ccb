"""The demonstration: the same pipeline that `edgeseq run` runs, on bundled data, watched while it works."""
