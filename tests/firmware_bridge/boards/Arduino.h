/* What the examples call of an Arduino, declared as its core does, so that any compiler can check the calls. */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { A0 = 14, A1, A2, A3, A4, A5 };

extern "C" unsigned long micros(void);
extern "C" int analogRead(uint8_t pin);

struct HardwareSerial {
  void begin(unsigned long baud);
  int available();
  int read();
  size_t write(const uint8_t *bytes, size_t size);
};
extern HardwareSerial Serial;
