/*
 * What the test programs of options share: requests with options, and the beginning of a program of cases.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "../robust/robust.h"

#include <pthread.h>
#include <sys/eventfd.h>

/* A request of any type with options. What ioctl gives; errno tells why it is -1. */
static UNUSED int request(int fd, int reqtype, const char *name, void *body, void *options)
{
	struct nmreq_header header;
	memset(&header, 0, sizeof header);
	header.nr_version = NETMAP_API;
	header.nr_reqtype = (uint16_t)reqtype;
	strncpy(header.nr_name, name, sizeof header.nr_name - 1);
	header.nr_body = (uintptr_t)body;
	header.nr_options = (uintptr_t)options;
	return ioctl(fd, NIOCCTRL, &header);
}

/* The same, as 0 or an errno. */
static UNUSED int refused(int fd, int reqtype, const char *name, void *body, void *options)
{
	return request(fd, reqtype, name, body, options) == 0 ? 0 : errno;
}

static UNUSED int open_device(void)
{
	int fd = open("/dev/netmap", O_RDWR);
	CHECK(fd >= 0);
	return fd;
}

static UNUSED void pause_ms(unsigned ms)
{
	struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };
	while (nanosleep(&t, &t) != 0 && errno == EINTR)
		;
}

/* Waits until `condition` holds; after half a minute the test has failed. */
#define WAIT_FOR(condition) do {						\
	uint64_t deadline_ = milliseconds() + 30000;				\
	while (!(condition)) {							\
		CHECK(milliseconds() < deadline_ && #condition);		\
		pause_ms(1);							\
	}									\
} while (0)

/* Runs `child` in a process of its own, which must end well. */
static UNUSED void in_child(void (*child)(void *), void *with)
{
	int status;
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		child(with);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

#endif
