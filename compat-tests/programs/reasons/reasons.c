/*
 * Provokes what a person is to hear of.
 *
 *   reasons hold PORT [excl]     opens PORT, says "ready" and waits for a signal
 *   reasons inherit PORT         opens PORT; a child of it says "ready" when it is alone, and waits for a signal
 *   reasons open PORT            opens PORT and says "opened", or the errno
 *   reasons device               opens the device and says "opened", or the errno
 *   reasons refused N            asks N times twice for memory that does not exist, another one each time
 *   reasons ask N                asks N times for information
 *   reasons lost socket|pipe|file   has one request refused while descriptor 2 is no longer stderr; says how many
 *                                bytes came out of what is 2 then
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <net/netmap.h>

static int die(const char *what)
{
	printf("%s: errno=%d\n", what, errno);
	fflush(stdout);
	return 1;
}

static int device(void)
{
	return open("/dev/netmap", O_RDWR);
}

static int control(int fd, uint16_t type, const char *name, void *body)
{
	struct nmreq_header h;
	memset(&h, 0, sizeof h);
	h.nr_version = NETMAP_API;
	h.nr_reqtype = type;
	h.nr_body = (uintptr_t)body;
	snprintf(h.nr_name, sizeof h.nr_name, "%s", name);
	return ioctl(fd, NIOCCTRL, &h);
}

static int bind_to(int fd, const char *name, uint64_t flags, uint16_t memory)
{
	struct nmreq_register reg;
	memset(&reg, 0, sizeof reg);
	reg.nr_mode = NR_REG_ALL_NIC;
	reg.nr_flags = flags;
	reg.nr_mem_id = memory;
	return control(fd, NETMAP_REQ_REGISTER, name, &reg);
}

static int hold(const char *name, uint64_t flags, int stay)
{
	int fd = device();
	if (fd < 0)
		return die("open");
	if (bind_to(fd, name, flags, 0) < 0)
		return die("register");
	puts(stay ? "ready" : "opened");
	fflush(stdout);
	while (stay)
		pause();
	return 0;
}

static int inherit(const char *name)
{
	int fd = device(), alone[2];
	char byte;
	if (fd < 0)
		return die("open");
	if (bind_to(fd, name, NR_EXCLUSIVE, 0) < 0)
		return die("register");
	if (pipe(alone) < 0)
		return die("pipe");
	switch (fork()) {
	case -1:
		return die("fork");
	case 0:
		close(alone[1]);
		/* the end of its parent's end */
		while (read(alone[0], &byte, 1) > 0)
			;
		printf("ready %d\n", (int)getpid());
		fflush(stdout);
		for (;;)
			pause();
	}
	return 0;
}

static int refused(int n)
{
	int fd = device();
	if (fd < 0)
		return die("open");
	for (int i = 0; i < 2 * n; i++)
		if (bind_to(fd, "vale0:x", 0, (uint16_t)(1000 + i / 2)) == 0)
			return die("not refused");
	puts("done");
	return 0;
}

static int ask(int n)
{
	struct nmreq_port_info_get info;
	int fd = device();
	if (fd < 0)
		return die("open");
	for (int i = 0; i < n; i++) {
		memset(&info, 0, sizeof info);
		if (control(fd, NETMAP_REQ_PORT_INFO_GET, "vale0:x", &info) < 0)
			return die("information");
	}
	puts("done");
	return 0;
}

/* Descriptor 2 becomes something else; what comes out of it can be read from the result. */
static int replace_stderr(const char *by)
{
	int ends[2];
	if (strcmp(by, "socket") == 0) {
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
			return -1;
	} else if (strcmp(by, "pipe") == 0) {
		if (pipe(ends) < 0)
			return -1;
	} else {
		FILE *file = tmpfile();
		if (!file)
			return -1;
		ends[0] = ends[1] = fileno(file);
	}
	close(2);
	if (fcntl(ends[1], F_DUPFD, 2) != 2)
		return -1;
	return ends[0];
}

static int lost(const char *by)
{
	char bytes[4096];
	int fd = device(), other;
	if (fd < 0)
		return die("open");
	if ((other = replace_stderr(by)) < 0)
		return die(by);
	if (bind_to(fd, "vale0:x", 0, 1000) == 0)
		return die("not refused");
	if (strcmp(by, "file") == 0)
		lseek(other, 0, SEEK_SET);
	fcntl(other, F_SETFL, O_NONBLOCK);
	ssize_t n = read(other, bytes, sizeof bytes);
	printf("bytes=%zd\n", n < 0 ? 0 : n);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "", *more = argc > 2 ? argv[2] : "";
	if (strcmp(what, "hold") == 0)
		return hold(more, argc > 3 ? NR_EXCLUSIVE : 0, 1);
	if (strcmp(what, "inherit") == 0)
		return inherit(more);
	if (strcmp(what, "open") == 0)
		return hold(more, argc > 3 ? NR_EXCLUSIVE : 0, 0);
	if (strcmp(what, "device") == 0)
		return device() < 0 ? die("open") : puts("opened") < 0;
	if (strcmp(what, "refused") == 0)
		return refused(atoi(more));
	if (strcmp(what, "ask") == 0)
		return ask(atoi(more));
	if (strcmp(what, "lost") == 0)
		return lost(more);
	return 2;
}
