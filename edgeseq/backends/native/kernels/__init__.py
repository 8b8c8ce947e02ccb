"""What is compiled: one file a family of kernels, its plain reference beside it."""
