/*
 * A library that works in its constructor, as libselinux, libgcrypt and libnuma do. The loader runs
 * it before the constructors of whatever was preloaded.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int early_failures;

static void
check(const char *what, int ok)
{
	if (!ok) {
		perror(what);
		early_failures++;
	}
}

__attribute__((constructor)) static void
work_early(void)
{
	struct pollfd nothing = { .fd = -1 };
	struct stat st;
	char line[64];
	FILE *file = fopen("/proc/self/status", "r");
	int fd, copy;

	check("fopen", file != NULL && fgets(line, sizeof(line), file) != NULL);
	check("fclose", file != NULL && fclose(file) == 0);
	fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	check("open", fd >= 0);
	copy = dup(fd);
	check("dup", copy >= 0);
	check("fcntl", fcntl(copy, F_GETFD) == 0);
	check("close", close(fd) == 0 && close(copy) == 0);
	check("stat", stat("/proc/self/status", &st) == 0);
	check("access", access("/proc/self/status", R_OK) == 0);
	check("poll", poll(&nothing, 1, 0) == 0);
}
