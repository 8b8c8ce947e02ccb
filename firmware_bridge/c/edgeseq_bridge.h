/* The device's side of edgeseq's wire: samples out, commands in, over any serial line.

   One header, one source, C99. No heap, no floating-point arithmetic, no library at all: not even <string.h>.
   The wire is written down in docs/wire.md. Call everything for one link from one context: the main loop, or one task.
*/
#ifndef EDGESEQ_BRIDGE_H
#define EDGESEQ_BRIDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EB_VERSION 1u
#define EB_MAX_FRAME 253u
#define EB_MAX_BODY 238u
#define EB_MAX_ENCODED (EB_MAX_FRAME + 1u)

typedef enum { EB_INT16 = 0, EB_INT24 = 1, EB_FLOAT32 = 2 } eb_format;
typedef enum { EB_DEBUG = 0, EB_INFO = 1, EB_WARNING = 2, EB_ERROR = 3 } eb_level;

/* A channel: UTF-8 name (up to 63 bytes) and unit (up to 31); a sample times scale * 10^exponent is in that unit. */
typedef struct {
  const char *name;
  const char *unit;
  int32_t scale;
  int8_t exponent;
} eb_channel;

typedef struct {
  uint8_t id;            /* its own among the device's streams */
  eb_format format;
  uint8_t channel_count;
  const eb_channel *channels;
  uint32_t rate_top;     /* samples a second: rate_top / rate_bottom */
  uint32_t rate_bottom;
  bool running;          /* the host has started it: send samples only then */
  uint16_t sequence;     /* the library's */
} eb_stream;

typedef struct eb_link eb_link;
struct eb_link {
  /* Yours, set before eb_begin. */
  eb_stream *streams;
  uint8_t stream_count;
  uint32_t boot;         /* differs from start to start: a counter in flash, noise of the ADC; 0 where you have none */
  void *context;         /* handed to the functions below */
  uint32_t (*now_us)(void *context);                                    /* a clock of µs that wraps at 2^32 */
  bool (*write)(void *context, const uint8_t *bytes, size_t size);      /* all of it, or false and nothing */
  bool (*set_rate)(void *context, eb_stream *stream, uint32_t top, uint32_t bottom); /* NULL: rates are fixed */

  /* What was counted since eb_begin, modulo 2^32; for you to read. */
  uint32_t sent;         /* frames */
  uint32_t dropped;      /* frames that write had no room for */
  uint32_t damaged;      /* pieces between zeros that were no frames */
  uint32_t unknown;      /* frames of a type this library does not know */

  /* The library's. */
  uint16_t sequence;
  uint16_t in_size;
  uint16_t missing;      /* bytes that a frame cut short still lacks */
  uint8_t in[EB_MAX_ENCODED];
  uint8_t out[1u + EB_MAX_FRAME + 1u];
};

/* Start: counters to zero, all streams stopped, and every stream described to a host that may be listening. */
void eb_begin(eb_link *link);

/* Take bytes from the host, any number at a time; answers are written before this returns. */
void eb_receive(eb_link *link, const uint8_t *bytes, size_t size);

/* How many rows (one sample of each channel) fit into a frame. */
size_t eb_rows(const eb_stream *stream);

/* Send rows of samples, row after row, 1 to eb_rows of them; first_us: when the first was taken. False where there are
   more, or the format is another, or write had no room: then the host will see that a frame is missing. */
bool eb_send_int16(eb_link *link, eb_stream *stream, uint32_t first_us, const int16_t *samples, size_t rows);
bool eb_send_int24(eb_link *link, eb_stream *stream, uint32_t first_us, const int32_t *samples, size_t rows);
bool eb_send_float32(eb_link *link, eb_stream *stream, uint32_t first_us, const float *samples, size_t rows);

/* Send a line of text in UTF-8; what does not fit into a frame is cut off. */
bool eb_log(eb_link *link, eb_level level, const char *text);

/* Send the counters; the host also asks for them. */
bool eb_send_counters(eb_link *link);

#ifdef __cplusplus
}
#endif

#endif
