/* Preloaded into a process: moves its wall clock by the nanoseconds that stand in a file, which may
 * change at any moment. All other clocks, and every way to wait, stay as they are. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const int64_t SECOND = 1000000000;
static const volatile int64_t *offset;

__attribute__((constructor)) static void open_offset(void)
{
    const char *path = getenv("WRONG_CLOCK_FILE");
    int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    void *page = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED)
        offset = page;
}

int clock_gettime(clockid_t id, struct timespec *moment)
{
    int failed = (int)syscall(SYS_clock_gettime, id, moment);
    if (failed || offset == NULL || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE))
        return failed;
    int64_t now = (int64_t)moment->tv_sec * SECOND + moment->tv_nsec + *offset;
    moment->tv_sec = now / SECOND;
    moment->tv_nsec = now % SECOND;
    return 0;
}

int gettimeofday(struct timeval *restrict moment, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now))
        return -1;
    moment->tv_sec = now.tv_sec;
    moment->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *moment)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (moment != NULL)
        *moment = now.tv_sec;
    return now.tv_sec;
}
