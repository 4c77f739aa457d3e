"""A clock of the system that jumps, for a process started with it; the time since the start of the system goes on."""

from __future__ import annotations

import mmap
import subprocess
from pathlib import Path

_SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long long *wrong;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("WRONG_CLOCK");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    void *found = file < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
    if (found != MAP_FAILED) wrong = found;
    if (file >= 0) close(file);
}

int clock_gettime(clockid_t which, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, which, at);
    if (!failed && wrong && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) at->tv_sec += *wrong;
    return failed;
}

int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


class WrongClock:
    """What it says, processes with its `environ` take for the time."""

    def __init__(self, folder: Path) -> None:
        """A clock that is right. Raises OSError, subprocess.CalledProcessError: there is no C compiler."""
        source, library, offset = folder / "clock.c", folder / "clock.so", folder / "clock"
        source.write_text(_SOURCE)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
        offset.write_bytes(bytes(8))
        with offset.open("r+b") as file:
            self._wrong = memoryview(mmap.mmap(file.fileno(), 8)).cast("q")
        self.environ = {"LD_PRELOAD": str(library), "WRONG_CLOCK": str(offset)}

    def jump(self, seconds: int) -> None:
        """Be wrong by so much from now on."""
        self._wrong[0] = seconds
