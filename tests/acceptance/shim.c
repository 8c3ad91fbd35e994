/* Preloaded into a process to give it bad days that its operating system does not offer:

   SHIM_SPEED   all clocks run this many times faster, and waits end as much sooner
   SHIM_STEP    a file that begins with a double: seconds by which the wall clock is stepped, read at each look
   SHIM_FSYNC   a file; while it exists, fsync and fdatasync of every file whose path holds its text fail with EIO
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static double speed = 1.0;
static const double *step;
static const char *broken;
static double began_wall, began_mono;

static double raw(clockid_t id)
{
    struct timespec t;
    syscall(SYS_clock_gettime, id, &t);
    return (double)t.tv_sec + t.tv_nsec / 1e9;
}

__attribute__((constructor)) static void begin(void)
{
    const char *text = getenv("SHIM_SPEED"), *path = getenv("SHIM_STEP");
    if (text && atof(text) > 0)
        speed = atof(text);
    if (path) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            void *page = mmap(NULL, sizeof(double), PROT_READ, MAP_SHARED, fd, 0);
            step = page == MAP_FAILED ? NULL : page;
            close(fd);
        }
    }
    broken = getenv("SHIM_FSYNC");
    began_wall = raw(CLOCK_REALTIME);
    began_mono = raw(CLOCK_MONOTONIC);
}

static int is_wall(clockid_t id) { return id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE; }
static int is_mono(clockid_t id) { return id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE; }

static double seen(clockid_t id)
{
    double passed = (raw(CLOCK_MONOTONIC) - began_mono) * speed;
    return is_wall(id) ? began_wall + passed + (step ? *step : 0.0) : began_mono + passed;
}

int clock_gettime(clockid_t id, struct timespec *t)
{
    if ((speed == 1.0 && !step) || !(is_wall(id) || is_mono(id)))
        return syscall(SYS_clock_gettime, id, t);
    double now = seen(id);
    t->tv_sec = (time_t)now;
    t->tv_nsec = (long)((now - (double)t->tv_sec) * 1e9);
    return 0;
}

time_t time(time_t *where)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (where)
        *where = t.tv_sec;
    return t.tv_sec;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    struct timespec t;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &t);
    tv->tv_sec = t.tv_sec;
    tv->tv_usec = t.tv_nsec / 1000;
    return 0;
}

/* Rounded up: a wait that ends too soon would be begun again at once. */
static int sooner(int ms) { return ms <= 0 || speed == 1.0 ? ms : (int)(ms / speed) + 1; }

int epoll_wait(int fd, struct epoll_event *events, int most, int ms)
{
    return syscall(SYS_epoll_pwait, fd, events, most, sooner(ms), NULL, 8);
}

int epoll_pwait(int fd, struct epoll_event *events, int most, int ms, const sigset_t *mask)
{
    return syscall(SYS_epoll_pwait, fd, events, most, sooner(ms), mask, 8);
}

static int fails(int fd)
{
    char name[64], path[4096], part[256];
    if (!broken)
        return 0;
    int control = open(broken, O_RDONLY | O_CLOEXEC);
    if (control < 0)
        return 0;
    ssize_t length = read(control, part, sizeof part - 1);
    close(control);
    if (length <= 0)
        return 0;
    part[length] = 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(name, path, sizeof path - 1);
    if (size < 0)
        return 0;
    path[size] = 0;
    /* "$" at the end: the path has to end there. */
    if (part[length - 1] == '$') {
        part[--length] = 0;
        return size >= length && strcmp(path + size - length, part) == 0;
    }
    return strstr(path, part) != NULL;
}

int fsync(int fd)
{
    if (fails(fd)) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    if (fails(fd)) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_fdatasync, fd);
}
