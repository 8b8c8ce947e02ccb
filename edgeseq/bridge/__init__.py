"""What `edgeseq bridge` does: watch a device on a serial port, write down what it sends."""
