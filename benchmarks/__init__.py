"""What is measured side by side, each by one command; never part of the tests."""
