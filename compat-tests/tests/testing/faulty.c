/* A bridge between two ports with a fault: faulty FAULT PORT PORT. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#define NETMAP_WITH_LIBS
#include <net/netmap_user.h>

static const char *fault;
static struct nm_desc *farewell;

static int is(const char *name)
{
	return strcmp(fault, name) == 0;
}

static void put(struct nm_desc *d, const void *frame, unsigned int len)
{
	while (nm_inject(d, frame, len) == 0) {
		ioctl(d->fd, NIOCTXSYNC, 0);
		usleep(100);
	}
	ioctl(d->fd, NIOCTXSYNC, 0);
}

static void told_to_end(int signal)
{
	static const unsigned char frame[60] = { 255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 2, 8, 6 };

	(void)signal;
	if (is("exit-101"))
		_exit(101);
	if (is("farewell"))
		put(farewell, frame, sizeof(frame));
	_exit(0);
}

/* What one port has received goes to the other. */
static void forward(struct nm_desc *from, struct nm_desc *to)
{
	static unsigned char held[2048];
	static unsigned int held_len;
	struct nm_pkthdr header;
	const unsigned char *frame;

	while ((frame = nm_nextpkt(from, &header)) != NULL) {
		if (is("drop"))
			continue;
		if (is("crash"))
			abort();
		if (is("close")) {
			nm_close(from);
			nm_close(to);
			for (;;)
				pause();
		}
		if (is("swap") && held_len == 0 && header.len <= sizeof(held)) {
			memcpy(held, frame, header.len);
			held_len = header.len;
			continue;
		}
		put(to, frame, header.len);
		if (is("twice"))
			put(to, frame, header.len);
		if (held_len > 0) {
			put(to, held, held_len);
			held_len = 0;
		}
	}
	ioctl(from->fd, NIOCRXSYNC, 0);
}

int main(int argc, char **argv)
{
	struct nm_desc *ports[2];
	static const unsigned char flood[60] = { 255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 2, 8, 6 };

	if (argc != 4)
		return 2;
	fault = argv[1];
	for (int i = 0; i < 2; i++) {
		ports[i] = nm_open(argv[2 + i], NULL, 0, NULL);
		if (ports[i] == NULL) {
			perror(argv[2 + i]);
			return 1;
		}
	}
	farewell = ports[1];
	signal(SIGTERM, is("deaf") ? SIG_IGN : told_to_end);
	while (is("chat"))
		puts("a line that is printed again and again");
	while (is("flood"))
		put(ports[1], flood, sizeof(flood));
	for (;;) {
		struct pollfd fds[2] = {
			{ .fd = ports[0]->fd, .events = POLLIN },
			{ .fd = ports[1]->fd, .events = POLLIN },
		};

		poll(fds, 2, -1);
		forward(ports[0], ports[1]);
		forward(ports[1], ports[0]);
	}
}
