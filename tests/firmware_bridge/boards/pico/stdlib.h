/* What the example calls of the Pico SDK, declared as there. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

bool stdio_init_all(void);
bool stdio_usb_connected(void);
int putchar_raw(int c);
int getchar_timeout_us(uint32_t timeout_us);
uint32_t time_us_32(void);
