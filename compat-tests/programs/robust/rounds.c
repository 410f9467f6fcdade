/*
 * Packets from one port to another, both in this process, in rounds that are all alike, for who counts instructions:
 *
 *   rounds vale|flows|pipe sync|poll BATCH ROUNDS
 *
 * On a switch all packets are of one flow, or of 64 in an order that jumps about.
 * A round sends BATCH packets of 60 bytes with one call and takes them with one: NIOCTXSYNC and NIOCRXSYNC, or a poll
 * for room and one for packets, which sync, too.
 */
#include "robust.h"

#define LENGTH 60

static struct port from, to;
static int polls;

static void sync_port(const struct port *p, unsigned long request, short events)
{
	struct pollfd entry = { p->fd, events, 0 };

	CHECK(polls ? poll(&entry, 1, -1) == 1 && entry.revents == events : ioctl(p->fd, request, NULL) == 0);
}

static void send_packets(struct netmap_ring *ring, unsigned n)
{
	uint32_t head = ring->head;

	CHECK(ring_space(ring) >= n);
	for (unsigned i = 0; i < n; i++) {
		ring->slot[head].len = LENGTH;
		ring->slot[head].flags = 0;
		head = nm_ring_next(ring, head);
	}
	ring->head = ring->cur = head;
	sync_port(&from, NIOCTXSYNC, POLLOUT);
}

static void take_packets(struct netmap_ring *ring, unsigned n)
{
	uint32_t head;

	sync_port(&to, NIOCRXSYNC, POLLIN);
	head = ring->head;
	CHECK(ring_space(ring) == n);
	for (unsigned i = 0; i < n; i++) {
		CHECK(ring->slot[head].len == LENGTH);
		head = nm_ring_next(ring, head);
	}
	ring->head = ring->cur = head;
}

int main(int argc, char **argv)
{
	uint64_t seq = 0;
	unsigned n;

	if (argc != 5)
		return 2;
	int pipe = strcmp(argv[1], "pipe") == 0;
	unsigned side = strcmp(argv[1], "flows") == 0 ? 8 : 1;
	polls = strcmp(argv[2], "poll") == 0;
	n = (unsigned)atoi(argv[3]);
	from = open_port(pipe ? "vale0:p{1" : "vale0:from");
	to = open_port(pipe ? "vale0:p}1" : "vale0:to");
	/* The switch learns where the packets go, and all buffers are written once. */
	for (unsigned i = 0; !pipe && i < side; i++)
		send_one(&to, 100, 1 + i, &seq);
	for (unsigned i = 0; i < tx_ring(&from, 0)->num_slots; i++) {
		struct netmap_ring *ring = tx_ring(&from, 0);
		unsigned flow = i * 37 % (side * side);
		write_packet((uint8_t *)NETMAP_BUF(ring, ring->slot[i].buf_idx), LENGTH, 1 + flow % side, 100 + flow / side, i);
	}
	for (long i = atol(argv[4]); i > 0; i--) {
		send_packets(tx_ring(&from, 0), n);
		take_packets(rx_ring(&to, 0), n);
	}
	say("packets=%ld", atol(argv[4]) * n);
	return 0;
}
