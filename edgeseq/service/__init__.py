"""edgeseq as a service of systemd: what it is told, how it is installed, what it may do."""
