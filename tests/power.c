/* A disk that forgets: notes, for one folder, what a program wrote and what it synced, so that a test can cut the power.

   Loaded with LD_PRELOAD. Everything is passed on to the real functions. What happened stands in a ledger, one line each,
   written before what may be lost happens and after what makes it safe has happened:

     C inode name          a file was made            W inode offset length   bytes are about to be written
     R inode old new       a file is about to be      T inode size            a file was cut
                           renamed                    S inode                 the file was synced
     U inode name          a file is about to be      D                       the folder was synced
                           removed

   A file that loses its name is kept under its inode's number beside the ledger, for the power may be cut before that
   became durable. power.py reads the ledger. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILES 4096

static char folder[PATH_MAX], kept[PATH_MAX];
static int ledger = -1;
static useconds_t delay;
static enum { NONE, FILE_IN, FOLDER } kind[FILES];

/* From here on, watch `where`; write to `beside`/ledger; every sync takes `microseconds` longer. Returns 0 when ready. */
int power_watch(const char *where, const char *beside, int microseconds)
{
    char path[PATH_MAX + 8];
    snprintf(folder, sizeof folder, "%s/", where);
    snprintf(kept, sizeof kept, "%s", beside);
    snprintf(path, sizeof path, "%s/ledger", beside);
    ledger = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    delay = (useconds_t)microseconds;
    return ledger < 0;
}

static void note(const char *format, ...)
{
    char line[2 * PATH_MAX];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(line, sizeof line, format, values);
    va_end(values);
    if (syscall(SYS_write, ledger, line, (size_t)length) != length)
        syscall(SYS_exit_group, 99);
}

static const char *inside(const char *path)
{
    size_t length = strlen(folder);
    return ledger >= 0 && strncmp(path, folder, length) == 0 ? path + length : NULL;
}

static unsigned long inode(const char *path)
{
    struct stat s;
    return stat(path, &s) ? 0 : (unsigned long)s.st_ino;
}

static int opened(int file, const char *path, int created)
{
    if (file < 0 || file >= FILES)
        return file;
    const char *name = inside(path);
    kind[file] = name ? FILE_IN : NONE;
    if (ledger >= 0 && strlen(path) + 1 == strlen(folder) && strncmp(path, folder, strlen(path)) == 0)
        kind[file] = FOLDER;
    if (created)
        note("C %lu %s\n", inode(path), name);
    return file;
}

#define OPEN(function)                                                                                                 \
    int function(const char *path, int flags, ...)                                                                     \
    {                                                                                                                  \
        int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #function);                                             \
        va_list values;                                                                                                \
        va_start(values, flags);                                                                                       \
        mode_t mode = flags & O_CREAT ? va_arg(values, mode_t) : 0;                                                    \
        va_end(values);                                                                                                \
        int created = (flags & O_CREAT) && inside(path) && !inode(path);                                               \
        return opened(real(path, flags, mode), path, created);                                                         \
    }
OPEN(open)
OPEN(open64)

static unsigned long number(int file, off_t *size)
{
    struct stat s;
    if (file < 0 || file >= FILES || kind[file] != FILE_IN || fstat(file, &s))
        return 0;
    *size = s.st_size;
    return (unsigned long)s.st_ino;
}

ssize_t write(int file, const void *data, size_t length)
{
    off_t size = 0;
    unsigned long i = number(file, &size);
    if (i)
        note("W %lu %ld %lu\n", i, (long)size, (unsigned long)length);
    return syscall(SYS_write, file, data, length);
}

static int synced(int file, int result)
{
    off_t size = 0;
    unsigned long i = number(file, &size);
    if (result == 0 && i)
        note("S %lu\n", i);
    else if (result == 0 && file >= 0 && file < FILES && kind[file] == FOLDER)
        note("D\n");
    return result;
}

#define SYNC(function)                                                                                                 \
    int function(int file)                                                                                             \
    {                                                                                                                  \
        int (*real)(int) = dlsym(RTLD_NEXT, #function);                                                                \
        if (ledger >= 0)                                                                                               \
            usleep(delay);                                                                                             \
        return synced(file, real(file));                                                                               \
    }
SYNC(fsync)
SYNC(fdatasync)

#define CUT(function, type)                                                                                            \
    int function(int file, type size)                                                                                  \
    {                                                                                                                  \
        int (*real)(int, type) = dlsym(RTLD_NEXT, #function);                                                          \
        off_t before = 0;                                                                                              \
        unsigned long i = number(file, &before);                                                                       \
        if (i)                                                                                                         \
            note("T %lu %ld\n", i, (long)size);                                                                        \
        return real(file, size);                                                                                       \
    }
CUT(ftruncate, off_t)
CUT(ftruncate64, off64_t)

static void keep(const char *path)
{
    char copy[PATH_MAX + 32];
    snprintf(copy, sizeof copy, "%s/%lu", kept, inode(path));
    syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, copy, 0);
}

int unlink(const char *path)
{
    int (*real)(const char *) = dlsym(RTLD_NEXT, "unlink");
    const char *name = inside(path);
    if (name && inode(path)) {
        keep(path);
        note("U %lu %s\n", inode(path), name);
    }
    return real(path);
}

int rename(const char *from, const char *to)
{
    int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
    const char *old = inside(from), *new = inside(to);
    if (old && new) {
        if (inode(to))
            keep(to);
        note("R %lu %s %s\n", inode(from), old, new);
    }
    return real(from, to);
}
