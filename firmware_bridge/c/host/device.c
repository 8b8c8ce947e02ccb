/* A device that is a program: it answers on a pseudo-terminal as a microcontroller would on its serial port, with the
   very library in ../edgeseq_bridge.c. Built by:

     cc -O2 -I.. -o device device.c ../edgeseq_bridge.c -lm
*/
#define _GNU_SOURCE /* ppoll, daemon */

#include "edgeseq_bridge.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define MAX_STREAMS 8
#define MAX_CHANNELS 16
#define WAITING (1u << 16)

static const char *const FORMATS[] = {"int16", "int24", "float32", NULL}; /* as in eb_format */
static const char *const SIGNALS[] = {"sine", "ramp", NULL};
static const char *const LINES[] = {"csv", "json", "text", NULL};
static const char *const USAGE =
    "usage: device [options]\n"
    "  --link PATH         make PATH a symbolic link to the terminal, replacing a link that is there\n"
    "  --pipe              speak on stdin and stdout instead of a terminal\n"
    "  --streams N         streams 0 to N-1 (1)\n"
    "  --channels N        channels of each (3)\n"
    "  --format F          int16, int24 or float32 (int16)\n"
    "  --rate HZ           samples a second, a whole number (1000)\n"
    "  --rows N            samples a frame (as many as fit, at most 20 ms of them)\n"
    "  --signal S          sine: vibration; ramp: sample i of channel c is i + 1000 c, which shows any loss (sine)\n"
    "  --lines F           csv, json or text lines of that signal in place of frames\n"
    "  --background        return as soon as the terminal is there; the device goes on\n"
    "  --patience S        end where the host has said nothing for so many seconds\n"
    "  --autostart         do not wait for START\n"
    "  --count N           end after N frames (or lines) a stream\n"
    "  --fast              as fast as the reader takes it, in place of --rate's pace\n"
    "  --boot N            the boot number (from the clock)\n"
    "  --clock US          where the clock of 32 bits begins (0)\n"
    "  --drift PPM         how much too fast that clock is (0)\n"
    "  --drop N            every Nth frame of samples is not sent, but counted in the numbering\n"
    "  --repeat N          every Nth frame of samples is sent twice\n"
    "  --late N            every Nth frame of samples comes after the one behind it\n"
    "  --flip N            in every Nth frame of samples one bit is wrong\n";

typedef struct {
  int descriptor;
  int answers;                /* where bytes from the host are read */
  uint8_t waiting[WAITING];   /* bytes that the terminal has not taken yet */
  size_t size;
  uint8_t held[EB_MAX_ENCODED + 1u];
  size_t held_size;
  uint32_t clock_us;
  double drift;
  struct timespec began;
  unsigned long drop, repeat, late, flip, frames;
  bool samples;               /* what is written now is a frame of samples */
} device;

static volatile sig_atomic_t ended = 0;

static void end(int number) {
  (void)number;
  ended = 1;
}

static void fail(const char *what) {
  fprintf(stderr, "device: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double seconds(const device *self) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)(now.tv_sec - self->began.tv_sec) + 1e-9 * (double)(now.tv_nsec - self->began.tv_nsec);
}

static uint32_t at_us(const device *self, double after_s) {
  return self->clock_us + (uint32_t)(uint64_t)(after_s * 1e6 * (1.0 + self->drift));
}

static uint32_t now_us(void *context) { return at_us(context, seconds(context)); }

static bool set_rate(void *context, eb_stream *stream, uint32_t top, uint32_t bottom) {
  (void)context;
  (void)stream;
  return bottom == 1u && top <= 200000u;
}

/* Give the terminal what waits, as much as it takes. */
static void flush(device *self) {
  while (self->size > 0) {
    ssize_t taken = write(self->descriptor, self->waiting, self->size);
    if (taken < 0) {
      if (errno == EAGAIN || errno == EINTR) {
        return;
      }
      fail("the line");
    }
    memmove(self->waiting, self->waiting + taken, self->size - (size_t)taken);
    self->size -= (size_t)taken;
  }
}

static void queue(device *self, const uint8_t *bytes, size_t size) {
  memcpy(self->waiting + self->size, bytes, size);
  self->size += size;
}

static bool every(unsigned long frame, unsigned long n) { return n != 0 && frame % n == n - 1; }

static bool write_frame(void *context, const uint8_t *bytes, size_t size) {
  device *self = context;
  flush(self);
  if (self->size + 3 * (EB_MAX_ENCODED + 1u) > WAITING) {
    return false;
  }
  if (!self->samples) {
    queue(self, bytes, size);
  } else {
    unsigned long frame = self->frames++;
    if (every(frame, self->late)) {
      memcpy(self->held, bytes, size);
      self->held_size = size;
      return true;
    }
    if (!every(frame, self->drop)) {
      queue(self, bytes, size);
      if (every(frame, self->flip)) {
        size_t at = self->size - 1u - (frame * 7u) % size;
        self->waiting[at] = (uint8_t)(self->waiting[at] ^ (1u << (frame % 8u)));
      }
      if (every(frame, self->repeat)) {
        queue(self, bytes, size);
      }
    }
    if (self->held_size > 0) {
      queue(self, self->held, self->held_size);
      self->held_size = 0;
    }
  }
  flush(self);
  return true;
}

static double value(bool ramp, double rate, unsigned long sample, int channel) {
  if (ramp) {
    return (double)sample + 1000.0 * channel;
  }
  double t = (double)sample / rate;
  return 8000.0 * sin(6.283185307179586 * 29.5 * t + channel) + 1500.0 * sin(6.283185307179586 * 177.0 * t);
}

static int64_t whole(double number, int bits) {
  int64_t span = (int64_t)1 << bits;
  int64_t rest = (int64_t)number % span;
  return rest >= span / 2 ? rest - span : rest < -span / 2 ? rest + span : rest;
}

static void send_rows(eb_link *link, eb_stream *stream, uint32_t first_us, bool ramp, unsigned long first, size_t rows) {
  int16_t shorts[EB_MAX_BODY];
  int32_t longs[EB_MAX_BODY];
  float floats[EB_MAX_BODY];
  double rate = (double)stream->rate_top / stream->rate_bottom;
  for (size_t i = 0; i < rows * stream->channel_count; i++) {
    double number = value(ramp, rate, first + i / stream->channel_count, (int)(i % stream->channel_count));
    shorts[i] = (int16_t)whole(number, 16);
    longs[i] = (int32_t)whole(number * 16.0, 24);
    floats[i] = (float)number;
  }
  if (stream->format == EB_INT16) {
    eb_send_int16(link, stream, first_us, shorts, rows);
  } else if (stream->format == EB_INT24) {
    eb_send_int24(link, stream, first_us, longs, rows);
  } else {
    eb_send_float32(link, stream, first_us, floats, rows);
  }
}

static void send_line(device *self, const char *form, bool ramp, double rate, unsigned long sample, int channels) {
  char line[64 * MAX_CHANNELS + 16];
  int at = 0;
  bool json = strcmp(form, "json") == 0;
  bool text = strcmp(form, "text") == 0;
  at += sprintf(line + at, json ? "{" : "");
  for (int c = 0; c < channels; c++) {
    const char *between = c == 0 ? "" : json ? ", " : text ? " " : ",";
    const char *style = json ? "%s\"c%d\": " : text ? "%sc%d=" : "%s";
    at += sprintf(line + at, style, between, c);
    at += sprintf(line + at, "%.9g", value(ramp, rate, sample, c));
  }
  at += sprintf(line + at, json ? "}\r\n" : "\r\n");
  flush(self);
  if (self->size + (size_t)at < WAITING) {
    queue(self, (const uint8_t *)line, (size_t)at);
    flush(self);
  }
}

/* Remove a link, and nothing else that has its name. */
static void remove_link(const char *path) {
  char first;
  if (path != NULL && readlink(path, &first, 1) >= 0) {
    unlink(path);
  }
}

static int open_terminal(const char *path) {
  int master = posix_openpt(O_RDWR | O_NOCTTY);
  if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) {
    fail("posix_openpt");
  }
  const char *name = ptsname(master);
  /* Kept open, so that the line stays up while no host has it open; raw, so that it is a line and no console. */
  int slave = open(name, O_RDWR | O_NOCTTY);
  struct termios settings;
  if (slave < 0 || tcgetattr(slave, &settings) != 0) {
    fail(name);
  }
  cfmakeraw(&settings);
  tcsetattr(slave, TCSANOW, &settings);
  remove_link(path);
  if (path != NULL && symlink(name, path) != 0) {
    fail(path);
  }
  printf("%s\n", path != NULL ? path : name);
  fflush(stdout);
  return master;
}

static unsigned long number(const char *text) {
  char *rest;
  unsigned long read = strtoul(text, &rest, 10);
  if (*text == '\0' || *text == '-' || *rest != '\0') {
    fprintf(stderr, "device: '%s' is no whole number\n%s", text, USAGE);
    exit(2);
  }
  return read;
}

static unsigned long within(const char *text, unsigned long least, unsigned long most) {
  unsigned long read = number(text);
  if (read < least || read > most) {
    fprintf(stderr, "device: %s must lie between %lu and %lu\n", text, least, most);
    exit(2);
  }
  return read;
}

/* Which of these words it is. */
static int one_of(const char *text, const char *const *words) {
  for (int i = 0; words[i] != NULL; i++) {
    if (strcmp(text, words[i]) == 0) {
      return i;
    }
  }
  fprintf(stderr, "device: there is no '%s'\n%s", text, USAGE);
  exit(2);
}

int main(int argc, char **argv) {
  static const struct option options[] = {
      {"link", 1, NULL, 'l'},   {"streams", 1, NULL, 's'}, {"channels", 1, NULL, 'c'}, {"format", 1, NULL, 'f'},
      {"rate", 1, NULL, 'r'},   {"rows", 1, NULL, 'n'},    {"signal", 1, NULL, 'g'},   {"lines", 1, NULL, 't'},
      {"count", 1, NULL, 'x'},  {"boot", 1, NULL, 'b'},    {"clock", 1, NULL, 'u'},    {"drift", 1, NULL, 'p'},
      {"drop", 1, NULL, 'd'},   {"repeat", 1, NULL, 'e'},  {"late", 1, NULL, 'y'},     {"flip", 1, NULL, 'w'},
      {"fast", 0, NULL, 'q'},   {"autostart", 0, NULL, 'a'}, {"help", 0, NULL, 'h'},   {"pipe", 0, NULL, 'i'},
      {"background", 0, NULL, 'k'}, {"patience", 1, NULL, 'z'},
      {NULL, 0, NULL, 0}};
  static device self;
  static eb_stream streams[MAX_STREAMS];
  static eb_channel channels[MAX_CHANNELS];
  static char names[MAX_CHANNELS][24];
  const char *path = NULL, *lines = NULL;
  unsigned long stream_count = 1, channel_count = 3, rate = 1000, rows = 0, count = 0;
  double patience = 0.0, heard = 0.0;
  bool background = false, fast = false, autostart = false, ramp = false, pipes = false;
  eb_format format = EB_INT16;
  static eb_link link;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  link.boot = (uint32_t)now.tv_sec ^ (uint32_t)now.tv_nsec ^ (uint32_t)getpid();

  for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
    switch (option) {
    case 'l': path = optarg; break;
    case 's': stream_count = within(optarg, 1, MAX_STREAMS); break;
    case 'c': channel_count = within(optarg, 1, MAX_CHANNELS); break;
    case 'f': format = (eb_format)one_of(optarg, FORMATS); break;
    case 'r': rate = within(optarg, 1, 200000); break;
    case 'n': rows = within(optarg, 1, EB_MAX_BODY); break;
    case 'g': ramp = one_of(optarg, SIGNALS) == 1; break;
    case 't': lines = LINES[one_of(optarg, LINES)]; break;
    case 'x': count = number(optarg); break;
    case 'b': link.boot = (uint32_t)number(optarg); break;
    case 'u': self.clock_us = (uint32_t)number(optarg); break;
    case 'p': self.drift = strtod(optarg, NULL) * 1e-6; break;
    case 'd': self.drop = number(optarg); break;
    case 'e': self.repeat = number(optarg); break;
    case 'y': self.late = number(optarg); break;
    case 'w': self.flip = number(optarg); break;
    case 'q': fast = true; break;
    case 'a': autostart = true; break;
    case 'k': background = true; break;
    case 'z': patience = strtod(optarg, NULL); break;
    case 'i': pipes = true; break;
    default: fputs(USAGE, option == 'h' ? stdout : stderr); return option == 'h' ? 0 : 2;
    }
  }
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = end;
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  signal(SIGPIPE, SIG_IGN);
  clock_gettime(CLOCK_MONOTONIC, &self.began);

  for (unsigned long c = 0; c < channel_count; c++) {
    snprintf(names[c], sizeof names[c], "c%lu", c);
    channels[c] = (eb_channel){names[c], "g", format == EB_INT24 ? 625 : 1, format == EB_INT24 ? -4 : 0};
    if (!ramp) {
      channels[c].exponent = (int8_t)(channels[c].exponent - 3);
    }
  }
  for (unsigned long s = 0; s < stream_count; s++) {
    streams[s] = (eb_stream){(uint8_t)s, format, (uint8_t)channel_count, channels, (uint32_t)rate, 1, false, 0};
  }
  link.streams = streams;
  link.stream_count = (uint8_t)stream_count;
  link.context = &self;
  link.now_us = now_us;
  link.write = write_frame;
  link.set_rate = set_rate;
  self.descriptor = pipes ? STDOUT_FILENO : open_terminal(path);
  self.answers = pipes ? STDIN_FILENO : self.descriptor;
  fcntl(self.descriptor, F_SETFL, O_NONBLOCK);
  fcntl(self.answers, F_SETFL, O_NONBLOCK);
  if (background && daemon(1, 0) != 0) {
    fail("daemon");
  }
  if (lines == NULL) {
    eb_begin(&link);
    eb_log(&link, EB_INFO, "the device has started");
  }

  unsigned long done[MAX_STREAMS] = {0}, frames[MAX_STREAMS] = {0};
  double since[MAX_STREAMS] = {0}, pace[MAX_STREAMS] = {0};
  bool was[MAX_STREAMS] = {false};
  for (unsigned long s = 0; autostart && s < stream_count; s++) {
    streams[s].running = true;
  }
  while (!ended) {
    bool finished = count != 0, busy = false;
    double wait_s = 0.05;
    for (unsigned long s = 0; s < stream_count; s++) {
      eb_stream *stream = &streams[s];
      finished = finished && frames[s] >= count;
      if (!(stream->running || lines != NULL) || (count != 0 && frames[s] >= count)) {
        was[s] = false;
        continue;
      }
      double hz = (double)stream->rate_top / stream->rate_bottom;
      was[s] = was[s] && pace[s] == hz;
      pace[s] = hz;
      size_t each = lines != NULL ? 1 : eb_rows(stream);
      size_t brief = (size_t)(hz / 50.0) + 1u;
      each = rows != 0 && rows < each ? rows : rows == 0 && brief < each ? brief : each;
      if (!was[s]) {
        was[s] = true;
        since[s] = seconds(&self) - (double)done[s] / hz;
      }
      double last = since[s] + (double)(done[s] + each) / hz;
      busy = true;
      if (fast ? self.size > WAITING / 2 : last > seconds(&self)) {
        double left = fast ? 0.001 : last - seconds(&self);
        wait_s = left < wait_s ? left : wait_s;
        continue;
      }
      wait_s = 0.0;
      double first = since[s] + (double)done[s] / hz;
      self.samples = true;
      if (lines != NULL) {
        send_line(&self, lines, ramp, hz, done[s], (int)channel_count);
      } else {
        send_rows(&link, stream, at_us(&self, first < 0.0 ? 0.0 : first), ramp, done[s], each);
      }
      self.samples = false;
      done[s] += each;
      frames[s]++;
    }
    bool alone = self.answers < 0 && !busy;
    if (((finished || alone) && self.size == 0) || (patience > 0.0 && seconds(&self) > heard + patience)) {
      break;
    }
    flush(&self);
    struct pollfd polled = {self.answers, POLLIN, 0};
    struct timespec pause = {0, (long)(wait_s * 1e9)};
    ppoll(&polled, 1, &pause, NULL);
    if (polled.revents & POLLIN) {
      uint8_t bytes[1 << 16];
      ssize_t read_now = read(self.answers, bytes, sizeof bytes);
      if (read_now > 0) {
        heard = seconds(&self);
        if (lines == NULL) {
          eb_receive(&link, bytes, (size_t)read_now);
        }
      } else if (read_now == 0 && pipes) {
        self.answers = -1;
      }
    } else if (pipes && (polled.revents & POLLHUP)) {
      self.answers = -1;
    }
  }
  fprintf(stderr, "device: %lu frames sent, %lu dropped, %lu damaged, %lu unknown\n", (unsigned long)link.sent,
          (unsigned long)link.dropped, (unsigned long)link.damaged, (unsigned long)link.unknown);
  remove_link(path);
  return 0;
}
