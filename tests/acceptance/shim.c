/* Preloaded into a process to give it bad days that its operating system does not offer:

   SHIM_SPEED   all clocks run this many times faster, and waits end as much sooner
   SHIM_STEP    a file that begins with two doubles, read at each look: seconds by which the wall clock is stepped, and
                seconds that the machine has slept so far, which the monotonic clock does not count
   SHIM_BOOT    a file that is read in place of the name of this boot
   SHIM_FSYNC   a file; while it exists, fsync and fdatasync of every file whose path holds its text fail with EIO
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
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
static const char *broken, *boot;
static double began_wall, began_mono, began_boot;

static double raw(clockid_t id)
{
    struct timespec t;
    syscall(SYS_clock_gettime, id, &t);
    return (double)t.tv_sec + t.tv_nsec / 1e9;
}

/* Called once more by a process that was forked and lives in another environment. */
__attribute__((constructor)) void shim_begin(void)
{
    const char *text = getenv("SHIM_SPEED"), *path = getenv("SHIM_STEP");
    if (text && atof(text) > 0)
        speed = atof(text);
    if (path) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            void *page = mmap(NULL, 2 * sizeof(double), PROT_READ, MAP_SHARED, fd, 0);
            step = page == MAP_FAILED ? NULL : page;
            close(fd);
        }
    }
    broken = getenv("SHIM_FSYNC");
    boot = getenv("SHIM_BOOT");
    began_wall = raw(CLOCK_REALTIME);
    began_mono = raw(CLOCK_MONOTONIC);
    began_boot = raw(CLOCK_BOOTTIME);
}

static int is_wall(clockid_t id) { return id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE; }
static int is_mono(clockid_t id) { return id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE; }

static double seen(clockid_t id)
{
    double passed = (raw(CLOCK_MONOTONIC) - began_mono) * speed;
    double stepped = step ? step[0] : 0.0, slept = step ? step[1] : 0.0;
    if (is_wall(id))
        return began_wall + passed + stepped + slept;
    return is_mono(id) ? began_mono + passed : began_boot + passed + slept;
}

int clock_gettime(clockid_t id, struct timespec *t)
{
    if ((speed == 1.0 && !step) || !(is_wall(id) || is_mono(id) || id == CLOCK_BOOTTIME))
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

/* Only the name of the boot is read elsewhere; all other files as ever. */
static const char *meant(const char *path)
{
    return boot && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0 ? boot : path;
}

int open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    return syscall(SYS_openat, AT_FDCWD, meant(path), flags, mode);
}

int open64(const char *path, int flags, ...) __attribute__((alias("open")));

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
