/* Every look at a shared path waits for its turn at one server with one queue for all processes.

   SLOW_CLOCK    file of 8 bytes, mapped by all: when the server is free again, in ns
   SLOW_PATHS    directories on the slow file system, separated by colons
   SLOW_LATENCY  ns for the way there and back
   SLOW_SERVICE  ns that the server takes for one

   Preloaded (LD_PRELOAD). Not seen: what the dynamic linker opens itself, system calls made without libc. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static _Atomic uint64_t *server_free;
static uint64_t latency, service;
static char *paths;

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("SLOW_CLOCK"), *list = getenv("SLOW_PATHS");
    if (!file || !list) return;
    int (*real_open)(const char *, int, ...) = next("open");
    int descriptor = real_open(file, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) return;
    void *page = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (page == MAP_FAILED) return;
    latency = strtoull(getenv("SLOW_LATENCY"), NULL, 10);
    service = strtoull(getenv("SLOW_SERVICE"), NULL, 10);
    paths = strdup(list);
    server_free = page;
}

static int shared(const char *path) {
    char here[4096];
    if (path[0] != '/') {
        if (!getcwd(here, sizeof here)) return 0;
        path = here;
    }
    for (const char *one = paths; *one;) {
        size_t length = strcspn(one, ":");
        if (length && !strncmp(path, one, length) && (path[length] == '/' || !path[length])) return 1;
        one += length + (one[length] == ':');
    }
    return 0;
}

/* A path relative to an open directory counts as one relative to the working directory. */
static void turn(const char *path) {
    if (!server_free || !path || !shared(path)) return;
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    uint64_t now = time.tv_sec * 1000000000ull + time.tv_nsec, free_at = atomic_load(server_free), done;
    do done = (free_at > now ? free_at : now) + service;
    while (!atomic_compare_exchange_weak(server_free, &free_at, done));
    done += latency;
    time.tv_sec = done / 1000000000ull;
    time.tv_nsec = done % 1000000000ull;
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == 4) {} /* EINTR */
}

#define WRAP(result, name, parameters, path, ...)              \
    result name parameters {                                   \
        static result(*real) parameters;                       \
        if (!real) real = (result(*) parameters)next(#name);   \
        turn(path);                                            \
        return real(__VA_ARGS__);                              \
    }

#define WRAP_OPEN(name, parameters, path, ...)                 \
    int name parameters {                                      \
        static int (*real) parameters;                         \
        va_list rest;                                          \
        va_start(rest, flags);                                 \
        mode_t mode = va_arg(rest, mode_t);                    \
        va_end(rest);                                          \
        if (!real) real = (int (*) parameters)next(#name);     \
        turn(path);                                            \
        return real(__VA_ARGS__);                              \
    }

WRAP_OPEN(open, (const char *p, int flags, ...), p, p, flags, mode)
WRAP_OPEN(open64, (const char *p, int flags, ...), p, p, flags, mode)
WRAP_OPEN(openat, (int d, const char *p, int flags, ...), p, d, p, flags, mode)
WRAP_OPEN(openat64, (int d, const char *p, int flags, ...), p, d, p, flags, mode)
WRAP(FILE *, fopen, (const char *p, const char *m), p, p, m)
WRAP(FILE *, fopen64, (const char *p, const char *m), p, p, m)
WRAP(DIR *, opendir, (const char *p), p, p)
WRAP(int, stat, (const char *p, struct stat *s), p, p, s)
WRAP(int, stat64, (const char *p, struct stat64 *s), p, p, s)
WRAP(int, lstat, (const char *p, struct stat *s), p, p, s)
WRAP(int, lstat64, (const char *p, struct stat64 *s), p, p, s)
WRAP(int, fstatat, (int d, const char *p, struct stat *s, int f), *p ? p : NULL, d, p, s, f)
WRAP(int, fstatat64, (int d, const char *p, struct stat64 *s, int f), *p ? p : NULL, d, p, s, f)
WRAP(int, __xstat, (int v, const char *p, struct stat *s), p, v, p, s)
WRAP(int, __xstat64, (int v, const char *p, struct stat64 *s), p, v, p, s)
WRAP(int, __lxstat, (int v, const char *p, struct stat *s), p, v, p, s)
WRAP(int, __lxstat64, (int v, const char *p, struct stat64 *s), p, v, p, s)
WRAP(int, statx, (int d, const char *p, int f, unsigned m, struct statx *s), *p ? p : NULL, d, p, f, m, s)
WRAP(int, access, (const char *p, int m), p, p, m)
WRAP(int, faccessat, (int d, const char *p, int m, int f), p, d, p, m, f)
WRAP(ssize_t, readlink, (const char *p, char *b, size_t n), p, p, b, n)
WRAP(ssize_t, readlinkat, (int d, const char *p, char *b, size_t n), p, d, p, b, n)
