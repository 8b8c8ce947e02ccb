/* The Pico's own temperature sensor over its USB port, 100 samples a second, with the Pico SDK:

     add_executable(bridge main.c edgeseq_bridge.c)
     target_link_libraries(bridge pico_stdlib hardware_adc)
     pico_enable_stdio_usb(bridge 1)

   USB has no speed to set: `baud` does not matter. The wire is bytes, not text, so nothing may translate line ends. */
#include "edgeseq_bridge.h"

#include "hardware/adc.h"
#include "pico/stdlib.h"

#include <stdio.h>

#define PERIOD_US 10000u
#define ROWS 5u

static const eb_channel channels[] = {{"temperature", "mV", 806, -3}}; /* 3,300 mV in 4,096 steps */
static eb_stream stream = {0, EB_INT16, 1, channels, 100, 1, false, 0};
static eb_link bridge;

static uint32_t now_us(void *context) {
  (void)context;
  return time_us_32();
}

static bool write_bytes(void *context, const uint8_t *bytes, size_t size) {
  (void)context;
  if (!stdio_usb_connected()) {
    return false;
  }
  for (size_t i = 0; i < size; i++) {
    putchar_raw(bytes[i]);
  }
  return true;
}

int main(void) {
  stdio_init_all();
  adc_init();
  adc_set_temp_sensor_enabled(true);
  adc_select_input(4);
  bridge.streams = &stream;
  bridge.stream_count = 1;
  bridge.now_us = now_us;
  bridge.write = write_bytes;
  for (int i = 0; i < 32; i++) {
    bridge.boot = (bridge.boot << 1) | (uint32_t)(adc_read() & 1u); /* noise */
  }
  eb_begin(&bridge);

  int16_t rows[ROWS];
  size_t row = 0;
  uint32_t first_us = 0, due_us = time_us_32();
  for (;;) {
    int read;
    while ((read = getchar_timeout_us(0)) >= 0) {
      uint8_t byte = (uint8_t)read;
      eb_receive(&bridge, &byte, 1);
    }
    if (time_us_32() - due_us >= 0x80000000u) { /* not due; unsigned, so that it is right across the wrap */
      continue;
    }
    if (row == 0) {
      first_us = due_us;
    }
    due_us += PERIOD_US;
    rows[row++] = (int16_t)adc_read();
    if (row == ROWS) {
      row = 0;
      if (stream.running) {
        eb_send_int16(&bridge, &stream, first_us, rows, ROWS);
      }
    }
  }
}
