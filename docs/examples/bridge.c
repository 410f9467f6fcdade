/*
 * Carries packets between two netmap ports, both ways, until SIGINT or SIGTERM.
 *
 *   cc -I include -o bridge docs/examples/bridge.c
 *   uvale run -- ./bridge vale0:x vale1:y
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define NETMAP_WITH_LIBS
#include <net/netmap_user.h>

static volatile sig_atomic_t ended;

static void end(int signal)
{
	(void)signal;
	ended = 1;
}

/* A name has a prefix: "netmap:" in front of an interface or pipe, none in front of a switch. With a port to share
 * memory with, packets need not be copied; what has a memory of its own already keeps it. */
static struct nm_desc *open_port(const char *name, const struct nm_desc *share)
{
	struct nm_desc *port = NULL;
	if (share != NULL)
		port = nm_open(name, NULL, NM_OPEN_ARG2, share);
	if (port == NULL)
		port = nm_open(name, NULL, 0, NULL);
	if (port == NULL)
		perror(name);
	return port;
}

/* Puts what one slot holds into another one: by exchanging their buffers, or by copying. */
static void move(struct netmap_ring *from, struct netmap_slot *full, struct netmap_ring *to, struct netmap_slot *empty,
    int zero_copy)
{
	empty->len = full->len;
	empty->flags = full->flags & NS_MOREFRAG;	/* a long packet goes on in the next slot */
	if (zero_copy) {
		uint32_t buffer = empty->buf_idx;
		empty->buf_idx = full->buf_idx;
		full->buf_idx = buffer;
		empty->flags |= NS_BUF_CHANGED;
		full->flags |= NS_BUF_CHANGED;
	} else {
		nm_pkt_copy(NETMAP_BUF(from, full->buf_idx), NETMAP_BUF(to, empty->buf_idx), full->len);
	}
}

/* Slots of the packet that begins at slot i. 0 if there is none, or its end has not come yet. */
static uint32_t packet_slots(struct netmap_ring *ring, uint32_t i)
{
	for (uint32_t n = 1; i != ring->tail; n++) {
		/* a packet that fills the ring cannot go on */
		if (!(ring->slot[i].flags & NS_MOREFRAG) || n + 1 == ring->num_slots)
			return n;
		i = nm_ring_next(ring, i);
	}
	return 0;
}

/* Moves as many packets as there is room for. What is left waits in its ring; returns whether it waits for room. */
static int carry_ring(struct netmap_ring *from, struct netmap_ring *to, int zero_copy, unsigned long *moved)
{
	uint32_t room = nm_ring_space(to), i = from->head, o = to->head, slots;
	while ((slots = packet_slots(from, i)) != 0) {
		int fits = slots < to->num_slots;	/* else it is dropped, rather than waited for */
		if (fits && slots > room)
			break;
		for (uint32_t n = 0; n < slots; n++, i = nm_ring_next(from, i))
			if (fits) {
				move(from, &from->slot[i], to, &to->slot[o], zero_copy);
				o = nm_ring_next(to, o);
			}
		room -= fits ? slots : 0;
		*moved += (unsigned long)fits;
	}
	/* netmap gets what is before head. It wakes for what comes behind cur: more of this packet, more room. */
	from->head = i;
	from->cur = slots == 0 ? from->tail : i;
	to->head = o;
	to->cur = slots == 0 ? o : to->tail;
	return slots != 0;
}

/* All rings of a port. Returns whether packets are left that wait for room. */
static int carry(struct nm_desc *from, struct nm_desc *to, unsigned long *moved)
{
	int outs = to->last_tx_ring - to->first_tx_ring + 1, left = 0;
	for (int r = from->first_rx_ring; r <= from->last_rx_ring; r++) {
		struct netmap_ring *in = NETMAP_RXRING(from->nifp, r);
		struct netmap_ring *out = NETMAP_TXRING(to->nifp, to->first_tx_ring + (r - from->first_rx_ring) % outs);
		left |= carry_ring(in, out, from->mem == to->mem, moved);
	}
	return left;
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: bridge PORT PORT\n");
		return 2;
	}
	struct nm_desc *a = open_port(argv[1], NULL);
	struct nm_desc *b = a != NULL ? open_port(argv[2], a) : NULL;
	if (b == NULL)
		return 1;
	struct sigaction action = { .sa_handler = end };
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);

	unsigned long forth = 0, back = 0;
	int a_waits = 0, b_waits = 0;
	while (!ended) {
		/* For packets, unless those that are here wait for room; and for room that the other's wait for. The
		 * call also sends what is in the tx rings. A signal right before it waits for it to end: a second. */
		struct pollfd ports[2] = {
			{ .fd = a->fd, .events = (a_waits ? 0 : POLLIN) | (b_waits ? POLLOUT : 0) },
			{ .fd = b->fd, .events = (b_waits ? 0 : POLLIN) | (a_waits ? POLLOUT : 0) },
		};
		poll(ports, 2, 1000);
		if ((ports[0].revents | ports[1].revents) & (POLLERR | POLLHUP | POLLNVAL)) {
			fprintf(stderr, "bridge: a port is gone\n");
			return 1;
		}
		a_waits = carry(a, b, &forth);
		b_waits = carry(b, a, &back);
	}
	ioctl(a->fd, NIOCTXSYNC, NULL);
	ioctl(b->fd, NIOCTXSYNC, NULL);
	printf("bridge: %lu packets forth, %lu back\n", forth, back);
	nm_close(b);
	nm_close(a);
	return 0;
}
