/*
 * Packets from one port to another, both in this process, in rounds that are all alike, for who counts instructions:
 *
 *   rounds vale|pipe sync|poll BATCH ROUNDS
 *
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
	int vale = strcmp(argv[1], "vale") == 0;
	polls = strcmp(argv[2], "poll") == 0;
	n = (unsigned)atoi(argv[3]);
	from = open_port(vale ? "vale0:from" : "vale0:p{1");
	to = open_port(vale ? "vale0:to" : "vale0:p}1");
	/* The switch learns where the packets go, and all buffers are written once. */
	if (vale)
		send_one(&to, 2, 1, &seq);
	for (unsigned i = 0; i < tx_ring(&from, 0)->num_slots; i++) {
		struct netmap_ring *ring = tx_ring(&from, 0);
		write_packet((uint8_t *)NETMAP_BUF(ring, ring->slot[i].buf_idx), LENGTH, 1, 2, i);
	}
	for (long i = atol(argv[4]); i > 0; i--) {
		send_packets(tx_ring(&from, 0), n);
		take_packets(rx_ring(&to, 0), n);
	}
	say("packets=%ld", atol(argv[4]) * n);
	return 0;
}
