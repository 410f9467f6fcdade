/*
 * What nm_open of the headers makes of names. Reads NUL-terminated names, writes a line for each:
 * errno of the name (0 also if it is no netmap name), then the request in hex, or "-" if none
 * would have been sent. The device is not opened; the functions that would are replaced.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static const unsigned char *sent;	/* the request, when there was one */

static int
fake_open(const char *path, int flags)
{
	(void)path;
	(void)flags;
	return dup(2);	/* something to close */
}

static int
fake_ioctl(int fd, unsigned long request, void *arg)
{
	static unsigned char copy[60];

	(void)fd;
	if (request != 0xc03c6992)
		abort();
	memcpy(copy, arg, sizeof(copy));
	sent = copy;
	errno = ENXIO;
	return -1;
}

#define open	fake_open
#define ioctl	fake_ioctl
#define NETMAP_WITH_LIBS
#define ND(...)	do { } while (0)	/* keep the headers quiet */
#define D(...)	do { } while (0)
#define RD(...)	do { } while (0)
#include <net/netmap_user.h>

int
main(void)
{
	char name[4096];
	size_t len = 0;
	int c, i;

	while ((c = getchar()) != EOF) {
		name[len] = (char)c;
		if (c != '\0') {
			if (++len == sizeof(name))
				abort();
			continue;
		}
		len = 0;
		sent = NULL;
		errno = 0;
		if (nm_open(name, NULL, 0, NULL) != NULL)
			abort();
		if (sent == NULL) {
			printf("%d -\n", errno);
			continue;
		}
		printf("0 ");
		for (i = 0; i < 60; i++)
			printf("%02x", sent[i]);
		printf("\n");
	}
	return 0;
}
