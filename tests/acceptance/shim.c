/* Preloaded into a process to give it bad days that its operating system does not offer:

   SHIM_SPEED   all clocks run this many times faster, and waits end as much sooner
   SHIM_STEP    a file that begins with two doubles, read at each look: seconds by which the wall clock is stepped, and
                seconds that the machine has slept so far, which the monotonic clock does not count
   SHIM_BOOT    a file that is read in place of the name of this boot
   SHIM_FSYNC   a file; while it exists, fsync and fdatasync of every file whose path holds its text fail with EIO
   SHIM_LOG     a file to which everything is appended that would reach the disk of the folder SHIM_LOG_FOLDER:
                see tests/powercuts/disk.py for its records
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
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

/* -- the log of what would reach the disk

   A change and its record are one step for all threads and processes that write to the log: they hold its lock. */

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static const char *folder;
static int log_fd = -1;

static int recording(void)
{
    /* Looked for at each call: a warm process sets the variables for a daemon when it has forked. */
    const char *path = log_fd < 0 ? getenv("SHIM_LOG") : NULL;
    if (path && *path) {
        pthread_mutex_lock(&turn);
        if (log_fd < 0 && (folder = getenv("SHIM_LOG_FOLDER")))
            log_fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        pthread_mutex_unlock(&turn);
    }
    return log_fd >= 0;
}

static void take_turn(void)
{
    pthread_mutex_lock(&turn);
    syscall(SYS_flock, log_fd, LOCK_EX);
}

static void end_turn(void)
{
    int kept = errno;
    syscall(SYS_flock, log_fd, LOCK_UN);
    pthread_mutex_unlock(&turn);
    errno = kept;
}

static void note(char kind, ino_t inode, off_t place, const void *data, size_t size)
{
    struct __attribute__((packed)) {
        char kind;
        uint64_t inode, place;
        uint32_t size;
    } head = {kind, inode, (uint64_t)place, (uint32_t)size};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)data, size}};
    int kept = errno;
    if (syscall(SYS_writev, log_fd, parts, 2) != (ssize_t)(sizeof head + size))
        abort();
    errno = kept;
}

/* SQLite's index in memory and locks mean nothing after a power cut. */
static int lasts(const char *path)
{
    size_t length = strlen(path), start = strlen(folder);
    return strncmp(path, folder, start) == 0 && path[start] == '/' &&
           !(length > 4 && (strcmp(path + length - 4, "-shm") == 0 || strcmp(path + length - 5, ".lock") == 0));
}

static int path_of(int fd, char *path)
{
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(name, path, PATH_MAX - 1);
    path[size < 0 ? 0 : size] = 0;
    return size > 0;
}

static int watched(int fd, struct stat *found)
{
    char path[PATH_MAX];
    return recording() && fstat(fd, found) == 0 && S_ISREG(found->st_mode) && path_of(fd, path) && lasts(path);
}

ssize_t write(int fd, const void *data, size_t size)
{
    struct stat found;
    if (!watched(fd, &found))
        return syscall(SYS_write, fd, data, size);
    take_turn();
    ssize_t done = syscall(SYS_write, fd, data, size);
    if (done > 0)
        note('W', found.st_ino, lseek(fd, 0, SEEK_CUR) - done, data, (size_t)done);
    end_turn();
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t place)
{
    struct stat found;
    if (!watched(fd, &found))
        return syscall(SYS_pwrite64, fd, data, size, place);
    take_turn();
    ssize_t done = syscall(SYS_pwrite64, fd, data, size, place);
    if (done > 0)
        note('W', found.st_ino, place, data, (size_t)done);
    end_turn();
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t place) { return pwrite64(fd, data, size, place); }

int ftruncate64(int fd, off_t size)
{
    struct stat found;
    if (!watched(fd, &found))
        return syscall(SYS_ftruncate, fd, size);
    take_turn();
    int failed = syscall(SYS_ftruncate, fd, size);
    if (!failed)
        note('T', found.st_ino, size, "", 0);
    end_turn();
    return failed;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int synced(long call, int fd)
{
    struct stat found;
    char path[PATH_MAX];
    if (fails(fd)) {
        errno = EIO;
        return -1;
    }
    if (!recording() || fstat(fd, &found) || !path_of(fd, path) || !(lasts(path) || strcmp(path, folder) == 0))
        return syscall(call, fd);
    take_turn();
    int failed = syscall(call, fd);
    if (!failed && S_ISDIR(found.st_mode))
        note('D', 0, 0, path, strlen(path));
    else if (!failed)
        note('S', found.st_ino, 0, "", 0);
    end_turn();
    return failed;
}

int fsync(int fd) { return synced(SYS_fsync, fd); }

int fdatasync(int fd) { return synced(SYS_fdatasync, fd); }

static int opened(int at, const char *path, int flags, mode_t mode)
{
    if (!(flags & (O_CREAT | O_TRUNC)) || !recording() || !lasts(path))
        return syscall(SYS_openat, at, meant(path), flags, mode);
    struct stat found;
    take_turn();
    int was_there = lstat(path, &found) == 0;
    int fd = syscall(SYS_openat, at, path, flags, mode);
    if (fd >= 0 && fstat(fd, &found) == 0 && S_ISREG(found.st_mode)) {
        if (!was_there)
            note('C', found.st_ino, 0, path, strlen(path));
        else if (flags & O_TRUNC)
            note('T', found.st_ino, 0, "", 0);
    }
    end_turn();
    return fd;
}

static mode_t mode_of(int flags, va_list more) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; }

#define OPENS(name, at, ...)                     \
    int name(__VA_ARGS__, int flags, ...)        \
    {                                            \
        va_list more;                            \
        va_start(more, flags);                   \
        mode_t mode = mode_of(flags, more);      \
        va_end(more);                            \
        return opened(at, path, flags, mode);    \
    }

OPENS(open, AT_FDCWD, const char *path)
OPENS(open64, AT_FDCWD, const char *path)
OPENS(openat, at, int at, const char *path)
OPENS(openat64, at, int at, const char *path)

int rename(const char *from, const char *to)
{
    struct stat found;
    if (!recording() || !(lasts(from) || lasts(to)))
        return syscall(SYS_rename, from, to);
    char both[2 * PATH_MAX];
    int size = snprintf(both, sizeof both, "%s%c%s", from, 0, to);
    take_turn();
    int failed = syscall(SYS_rename, from, to);
    if (!failed && lstat(to, &found) == 0)
        note('R', found.st_ino, 0, both, (size_t)size);
    end_turn();
    return failed;
}

int unlink(const char *path)
{
    if (!recording() || !lasts(path))
        return syscall(SYS_unlink, path);
    take_turn();
    int failed = syscall(SYS_unlink, path);
    if (!failed)
        note('U', 0, 0, path, strlen(path));
    end_turn();
    return failed;
}
