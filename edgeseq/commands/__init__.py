"""One file a command: HELP, arguments(parser), main(args) -> exit status."""
