#include "edgeseq_bridge.h"

/* A frame: length, header, body, CRC-32, sum. Its parts by position. */
#define LENGTH 0u
#define VERSION 1u
#define TYPE 2u
#define STREAM 3u
#define SEQUENCE 4u
#define TIME 6u
#define BODY 10u
#define CHECKS 5u
#define MIN_FRAME (BODY + CHECKS)

enum { HELLO = 1, SAMPLES = 2, LOG = 3, COUNTERS = 4, PONG = 5, ASK = 16, START = 17, STOP = 18, RATE = 19, PING = 20 };

#define LINK 255u /* the stream of messages that are of none */
#define MAX_NAME 63u
#define MAX_UNIT 31u

static void put16(uint8_t *at, uint16_t value) {
  at[0] = (uint8_t)(value & 0xFFu);
  at[1] = (uint8_t)(value >> 8);
}

static void put32(uint8_t *at, uint32_t value) {
  put16(at, (uint16_t)(value & 0xFFFFu));
  put16(at + 2, (uint16_t)(value >> 16));
}

static uint32_t get32(const uint8_t *at) {
  return (uint32_t)at[0] | ((uint32_t)at[1] << 8) | ((uint32_t)at[2] << 16) | ((uint32_t)at[3] << 24);
}

/* CRC-32 of IEEE 802.3, four bits at a time: 64 bytes of table. */
static uint32_t crc32(const uint8_t *bytes, size_t size) {
  static const uint32_t table[16] = {
      0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u, 0x4DB26158u, 0x5005713Cu,
      0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu, 0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu};
  uint32_t crc = 0xFFFFFFFFu;
  for (size_t i = 0; i < size; i++) {
    crc ^= bytes[i];
    crc = (crc >> 4) ^ table[crc & 15u];
    crc = (crc >> 4) ^ table[crc & 15u];
  }
  return ~crc;
}

static uint8_t sum(const uint8_t *bytes, size_t size) {
  uint8_t total = 0;
  for (size_t i = 0; i < size; i++) {
    total = (uint8_t)(total + bytes[i]);
  }
  return total;
}

/* Seal, encode and write the frame whose body stands in link->out, behind the byte for COBS. The number is used up
   whether or not there is room, so that the host sees what it missed. */
static bool send(eb_link *link, uint8_t type, uint8_t stream, uint16_t *sequence, uint32_t time_us, size_t body_size) {
  uint8_t *frame = link->out + 1;
  size_t checks = BODY + body_size;
  size_t size = checks + CHECKS;
  frame[LENGTH] = (uint8_t)size;
  frame[VERSION] = EB_VERSION;
  frame[TYPE] = type;
  frame[STREAM] = stream;
  put16(frame + SEQUENCE, (*sequence)++);
  put32(frame + TIME, time_us);
  put32(frame + checks, crc32(frame, checks));
  frame[size - 1u] = (uint8_t)(0u - sum(frame, size - 1u));
  /* COBS, in place and from the end: every zero becomes the distance to the next one; one more stands in front. */
  size_t next = size + 1u;
  link->out[0] = 0;
  link->out[next] = 0;
  for (size_t i = size + 1u; i-- > 0;) {
    if (link->out[i] == 0) {
      link->out[i] = (uint8_t)(next - i);
      next = i;
    }
  }
  if (!link->write(link->context, link->out, size + 2u)) {
    link->dropped++;
    return false;
  }
  link->sent++;
  return true;
}

static bool send_link(eb_link *link, uint8_t type, uint8_t stream, size_t body_size) {
  return send(link, type, stream, &link->sequence, link->now_us(link->context), body_size);
}

static uint8_t *body(eb_link *link) { return link->out + 1u + BODY; }

/* Copy a text of at most `most` bytes; what is more is cut off where no character is torn. Returns its size. */
static size_t put_text(uint8_t *at, const char *text, size_t most) {
  size_t size = 0;
  while (size < most && text[size] != '\0') {
    at[size] = (uint8_t)text[size];
    size++;
  }
  if (text[size] != '\0') {
    while (size > 0 && ((uint8_t)text[size] & 0xC0u) == 0x80u) {
      size--;
    }
  }
  return size;
}

static void send_hello(eb_link *link, const eb_stream *stream) {
  for (uint8_t index = 0; index < stream->channel_count; index++) {
    const eb_channel *channel = &stream->channels[index];
    uint8_t *at = body(link);
    put32(at, link->boot);
    put32(at + 4, stream->rate_top);
    put32(at + 8, stream->rate_bottom);
    at[12] = (uint8_t)stream->format;
    at[13] = stream->channel_count;
    at[14] = index;
    put32(at + 15, (uint32_t)channel->scale);
    at[19] = (uint8_t)channel->exponent;
    size_t size = 20;
    at[size] = (uint8_t)put_text(at + size + 1u, channel->name, MAX_NAME);
    size += 1u + at[size];
    at[size] = (uint8_t)put_text(at + size + 1u, channel->unit, MAX_UNIT);
    size += 1u + at[size];
    send_link(link, HELLO, stream->id, size);
  }
}

void eb_begin(eb_link *link) {
  static const uint8_t zero = 0;
  link->sent = link->dropped = link->damaged = link->unknown = 0;
  link->sequence = link->in_size = link->missing = 0;
  /* Whatever the line carried before us ends here. */
  link->write(link->context, &zero, 1);
  for (uint8_t i = 0; i < link->stream_count; i++) {
    link->streams[i].running = false;
    link->streams[i].sequence = 0;
    send_hello(link, &link->streams[i]);
  }
}

size_t eb_rows(const eb_stream *stream) {
  static const uint8_t bytes[3] = {2, 3, 4};
  size_t row = (size_t)bytes[stream->format] * stream->channel_count;
  return row == 0 ? 0 : (EB_MAX_BODY - 2u) / row;
}

/* Whether so many rows of this format may be sent; if so, begin the body. */
static bool begin_samples(eb_link *link, const eb_stream *stream, eb_format format, size_t rows) {
  if (stream->format != format || rows == 0 || rows > eb_rows(stream)) {
    return false;
  }
  body(link)[0] = (uint8_t)format;
  body(link)[1] = stream->channel_count;
  return true;
}

bool eb_send_int16(eb_link *link, eb_stream *stream, uint32_t first_us, const int16_t *samples, size_t rows) {
  if (!begin_samples(link, stream, EB_INT16, rows)) {
    return false;
  }
  size_t count = rows * stream->channel_count;
  uint8_t *at = body(link) + 2;
  for (size_t i = 0; i < count; i++, at += 2) {
    put16(at, (uint16_t)samples[i]);
  }
  return send(link, SAMPLES, stream->id, &stream->sequence, first_us, 2u + 2u * count);
}

bool eb_send_int24(eb_link *link, eb_stream *stream, uint32_t first_us, const int32_t *samples, size_t rows) {
  if (!begin_samples(link, stream, EB_INT24, rows)) {
    return false;
  }
  size_t count = rows * stream->channel_count;
  uint8_t *at = body(link) + 2;
  for (size_t i = 0; i < count; i++, at += 3) {
    uint32_t bits = (uint32_t)samples[i];
    put16(at, (uint16_t)(bits & 0xFFFFu));
    at[2] = (uint8_t)((bits >> 16) & 0xFFu);
  }
  return send(link, SAMPLES, stream->id, &stream->sequence, first_us, 2u + 3u * count);
}

bool eb_send_float32(eb_link *link, eb_stream *stream, uint32_t first_us, const float *samples, size_t rows) {
  if (!begin_samples(link, stream, EB_FLOAT32, rows)) {
    return false;
  }
  size_t count = rows * stream->channel_count;
  uint8_t *at = body(link) + 2;
  for (size_t i = 0; i < count; i++, at += 4) {
    union {
      float number;
      uint32_t bits;
    } sample;
    sample.number = samples[i];
    put32(at, sample.bits);
  }
  return send(link, SAMPLES, stream->id, &stream->sequence, first_us, 2u + 4u * count);
}

bool eb_log(eb_link *link, eb_level level, const char *text) {
  body(link)[0] = (uint8_t)level;
  return send_link(link, LOG, LINK, 1u + put_text(body(link) + 1, text, EB_MAX_BODY - 1u));
}

bool eb_send_counters(eb_link *link) {
  uint8_t *at = body(link);
  put32(at, link->sent);
  put32(at + 4, link->dropped);
  put32(at + 8, link->damaged);
  put32(at + 12, link->unknown);
  return send_link(link, COUNTERS, LINK, 16);
}

static void set_rate(eb_link *link, eb_stream *stream, uint32_t top, uint32_t bottom) {
  if (top != 0 && bottom != 0 && link->set_rate != NULL && link->set_rate(link->context, stream, top, bottom)) {
    stream->rate_top = top;
    stream->rate_bottom = bottom;
  }
  send_hello(link, stream);
}

/* Do what a whole frame asks for. came_us: when its last byte was there. */
static void obey(eb_link *link, const uint8_t *frame, size_t body_size, uint32_t came_us) {
  const uint8_t *told = frame + BODY;
  uint8_t type = frame[TYPE];
  if (type == PING && body_size == 4) {
    uint32_t token = get32(told);
    put32(body(link), token);
    put32(body(link) + 4, came_us);
    send_link(link, PONG, LINK, 8);
    return;
  }
  if (type == ASK && body_size == 0) {
    for (uint8_t i = 0; i < link->stream_count; i++) {
      send_hello(link, &link->streams[i]);
    }
    eb_send_counters(link);
    return;
  }
  for (uint8_t i = 0; i < link->stream_count; i++) {
    eb_stream *stream = &link->streams[i];
    if (stream->id != frame[STREAM]) {
      continue;
    }
    if (type == START && body_size == 0) {
      send_hello(link, stream);
      stream->running = true;
      return;
    }
    if (type == STOP && body_size == 0) {
      stream->running = false;
      return;
    }
    if (type == RATE && body_size == 8) {
      set_rate(link, stream, get32(told), get32(told + 4));
      return;
    }
  }
  link->unknown++;
}

/* Decode COBS in place; whether the distances end where the piece does. */
static bool decode(uint8_t *piece, size_t size) {
  size_t at = 0;
  while (at < size) {
    uint8_t code = piece[at];
    piece[at] = 0;
    at += code;
  }
  return at == size;
}

/* Take what stood between two zeros. */
static void take(eb_link *link, uint8_t *piece, size_t size) {
  uint32_t came_us = link->now_us(link->context);
  uint16_t missing = link->missing;
  link->missing = 0;
  if (size == 0) {
    return;
  }
  size_t length = size - 1u;
  /* Length and version are never zero, so they are seen before anything is decoded. */
  bool begun = size > 1u && size <= EB_MAX_ENCODED && piece[0] >= 3u && (size == 2u || piece[2] == EB_VERSION);
  size_t announced = begun ? piece[1] : 0u;
  uint8_t *frame = piece + 1;
  if (begun && announced == length && length >= MIN_FRAME && decode(piece, size) && sum(frame, length) == 0 &&
      crc32(frame, length - CHECKS) == get32(frame + length - CHECKS)) {
    /* A single false zero may have cut a frame in two; its second half is none, whatever it looks like. */
    if (missing != size) {
      obey(link, frame, length - MIN_FRAME, came_us);
    }
    return;
  }
  link->damaged++;
  /* announced + 1 bytes were due; this piece and the false zero are there. */
  link->missing = announced > size ? (uint16_t)(announced - size) : 0u;
}

void eb_receive(eb_link *link, const uint8_t *bytes, size_t size) {
  for (size_t i = 0; i < size; i++) {
    if (bytes[i] == 0) {
      take(link, link->in, link->in_size);
      link->in_size = 0;
    } else if (link->in_size < EB_MAX_ENCODED) {
      link->in[link->in_size++] = bytes[i];
    } else {
      link->in_size = EB_MAX_ENCODED + 1u; /* longer than any frame: what follows is not kept */
    }
  }
}
