/*
 * Carries packets between two netmap ports, both ways, until it is ended.
 *
 *   cc -I include -o bridge docs/examples/bridge.c
 *   uvale run -- ./bridge vale0:x vale1:y
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define NETMAP_WITH_LIBS
#include <net/netmap_user.h>

static struct nm_desc *open_port(const char *name)
{
	/* nm_open wants a prefix: "netmap:" in front of a plain name, none in front of a switch's */
	struct nm_desc *port = nm_open(name, NULL, 0, NULL);
	if (port == NULL)
		perror(name);
	return port;
}

/* Copies what has arrived at one port into the free slots of the other, and sends it. */
static void carry(struct nm_desc *from, struct nm_desc *to)
{
	struct nm_pkthdr header;
	unsigned char *packet;
	while ((packet = nm_nextpkt(from, &header)) != NULL)
		if (nm_inject(to, packet, header.len) == 0) {
			/* the ring is full: send what is there, then try once more */
			ioctl(to->fd, NIOCTXSYNC, NULL);
			nm_inject(to, packet, header.len);
		}
	ioctl(to->fd, NIOCTXSYNC, NULL);
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: bridge PORT PORT\n");
		return 2;
	}
	struct nm_desc *a = open_port(argv[1]), *b = open_port(argv[2]);
	if (a == NULL || b == NULL)
		return 1;
	struct pollfd ports[2] = { { .fd = a->fd, .events = POLLIN }, { .fd = b->fd, .events = POLLIN } };
	while (poll(ports, 2, -1) > 0) {
		if ((ports[0].revents | ports[1].revents) & POLLERR)
			return 1;
		carry(a, b);
		carry(b, a);
	}
	return 0;
}
