/*
 * A bridge: sends on each of two ports what it receives on the other.
 *   bridge PORT PORT
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define NETMAP_WITH_LIBS
#include <net/netmap_user.h>

static void
forward(struct nm_desc *from, struct nm_desc *to)
{
	struct netmap_ring *rx = NETMAP_RXRING(from->nifp, 0);
	struct netmap_ring *tx = NETMAP_TXRING(to->nifp, 0);

	while (!nm_ring_empty(rx) && !nm_ring_empty(tx)) {
		struct netmap_slot *in = &rx->slot[rx->head];
		struct netmap_slot *out = &tx->slot[tx->head];

		out->len = in->len;
		memcpy(NETMAP_BUF(tx, out->buf_idx), NETMAP_BUF(rx, in->buf_idx), in->len);
		rx->head = rx->cur = nm_ring_next(rx, rx->head);
		tx->head = tx->cur = nm_ring_next(tx, tx->head);
	}
}

int
main(int argc, char **argv)
{
	struct nm_desc *a, *b;

	if (argc != 3 || !(a = nm_open(argv[1], NULL, 0, NULL)) || !(b = nm_open(argv[2], NULL, 0, NULL))) {
		perror("bridge");
		return 1;
	}
	printf("bridging\n");
	fflush(stdout);
	for (;;) {
		struct pollfd fds[2] = { { .fd = a->fd, .events = POLLIN }, { .fd = b->fd, .events = POLLIN } };

		if (poll(fds, 2, -1) < 0) {
			perror("poll");
			return 1;
		}
		forward(a, b);
		forward(b, a);
		ioctl(a->fd, NIOCTXSYNC, NULL);
		ioctl(b->fd, NIOCTXSYNC, NULL);
	}
}
