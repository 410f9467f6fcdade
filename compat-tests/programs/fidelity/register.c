/* register NAME...: opens each NAME on a descriptor of its own and prints `NAME OK` or `NAME ERRNO`. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <net/netmap.h>

static int try_name(const char *name)
{
	struct nmreq_register reg = { .nr_mode = NR_REG_ALL_NIC };
	struct nmreq_header header = { .nr_version = NETMAP_API, .nr_reqtype = NETMAP_REQ_REGISTER };
	int fd = open("/dev/netmap", O_RDWR), error;
	if (fd < 0)
		return errno;
	snprintf(header.nr_name, sizeof header.nr_name, "%s", name);
	header.nr_body = (uintptr_t)&reg;
	error = ioctl(fd, NIOCCTRL, &header) < 0 ? errno : 0;
	close(fd);
	return error;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		int error = try_name(argv[i]);
		printf("%s %s\n", argv[i], error ? strerrorname_np(error) : "OK");
	}
	return 0;
}
