// An accelerometer with analog outputs (an ADXL335, say) on A0 to A2, sent to edgeseq at 500 samples a second.
//
// Put edgeseq_bridge.h and edgeseq_bridge.c into this sketch's folder. On the host:
//
//   [source]
//   type = "serial"
//   port = "/dev/serial/by-id/usb-Arduino..."
//   baud = 500000
#include <Arduino.h>

#include "edgeseq_bridge.h"

static const uint32_t PERIOD_US = 2000;
static const uint8_t ROWS = 10;

// 0.33 V a g, and 3.3 V in 1,024 steps: 0.009766 g a step.
static const eb_channel channels[] = {{"x", "g", 9766, -6}, {"y", "g", 9766, -6}, {"z", "g", 9766, -6}};
static eb_stream stream = {0, EB_INT16, 3, channels, 500, 1, false, 0};
static eb_link bridge;

static uint32_t now_us(void *) { return static_cast<uint32_t>(micros()); }

// It waits until all is in the port's buffer: at 500,000 bits a second less than 2 ms, in which no sample is due twice.
static bool write_bytes(void *, const uint8_t *bytes, size_t size) { return Serial.write(bytes, size) == size; }

void setup() {
  Serial.begin(500000);
  bridge.streams = &stream;
  bridge.stream_count = 1;
  bridge.now_us = now_us;
  bridge.write = write_bytes;
  // The lowest bits of a pin that is not connected: good enough to tell one start from the next.
  for (int i = 0; i < 32; i++) {
    bridge.boot = (bridge.boot << 1) | static_cast<uint32_t>(analogRead(A5) & 1);
  }
  eb_begin(&bridge);
}

void loop() {
  static int16_t rows[ROWS * 3];
  static uint8_t row = 0;
  static uint32_t first_us = 0;
  static uint32_t due_us = now_us(nullptr);
  while (Serial.available() > 0) {
    uint8_t byte = static_cast<uint8_t>(Serial.read());
    eb_receive(&bridge, &byte, 1);
  }
  // Unsigned, so that it is right across the wrap.
  if (now_us(nullptr) - due_us >= 0x80000000u) {
    return;
  }
  if (row == 0) {
    first_us = due_us;
  }
  due_us += PERIOD_US;
  for (uint8_t axis = 0; axis < 3; axis++) {
    rows[row * 3 + axis] = static_cast<int16_t>(analogRead(static_cast<uint8_t>(A0 + axis)) - 512);
  }
  if (++row == ROWS) {
    row = 0;
    if (stream.running) {
      eb_send_int16(&bridge, &stream, first_us, rows, ROWS);
    }
  }
}
