/*
 * A program between an interface and its host.
 *
 *   forward two PORT PORT    passes packets on between two descriptors: zero copy, as netmap's bridge does
 *   forward one PORT*        the same with one descriptor that has the rings of both
 *   forward mark PORT*       marks what arrives with NS_FORWARD; the rest is netmap's
 *   forward hold PORT        keeps the port open, takes what comes, and says how many echo requests have come
 *
 * Behind a port's name: `^` its host rings, `^0` the first of them, `*` all rings.
 */
#include "../robust/robust.h"
#include <net/if.h>

/* The rings of a port that this program uses: one kind. */
struct side {
	struct port *port;
	unsigned first_rx, end_rx, first_tx, end_tx;
};

static struct side nic_side(struct port *p)
{
	return (struct side){ p, 0, p->reg.nr_rx_rings, 0, p->reg.nr_tx_rings };
}

static struct side host_side(struct port *p)
{
	unsigned rx = p->reg.nr_rx_rings, tx = p->reg.nr_tx_rings;

	if (p->reg.nr_mode == NR_REG_ONE_SW)
		return (struct side){ p, rx + p->reg.nr_ringid, rx + p->reg.nr_ringid + 1,
				      tx + p->reg.nr_ringid, tx + p->reg.nr_ringid + 1 };
	return (struct side){ p, rx, rx + p->reg.nr_host_rx_rings, tx, tx + p->reg.nr_host_tx_rings };
}

static struct side side_of(struct port *p)
{
	return p->reg.nr_mode == NR_REG_ALL_NIC ? nic_side(p) : host_side(p);
}

static void open_named(struct port *p, const char *wanted)
{
	char name[NETMAP_REQ_IFNAMSIZ];
	size_t length = strcspn(wanted, "^*");

	CHECK(length < sizeof name);
	memcpy(name, wanted, length);
	name[length] = 0;
	memset(p, 0, sizeof *p);
	p->reg.nr_mode = NR_REG_ALL_NIC;
	if (strcmp(wanted + length, "^") == 0)
		p->reg.nr_mode = NR_REG_SW;
	else if (strcmp(wanted + length, "^0") == 0)
		p->reg.nr_mode = NR_REG_ONE_SW;
	else if (strcmp(wanted + length, "*") == 0)
		p->reg.nr_mode = NR_REG_NIC_SW;
	errno = try_port(p, name, O_NONBLOCK);
	if (errno != 0) {
		say("FAILED cannot open %s: errno %d: %s", wanted, errno, strerror(errno));
		_exit(1);
	}
}

static int has_packets(const struct side *s)
{
	for (unsigned i = s->first_rx; i < s->end_rx; i++)
		if (!nm_ring_empty(rx_ring(s->port, i)))
			return 1;
	return 0;
}

/* Exchanges buffers between slots for as long as there are packets and room. */
static void pass_ring(struct netmap_ring *rx, struct netmap_ring *tx)
{
	while (!nm_ring_empty(rx) && !nm_ring_empty(tx)) {
		struct netmap_slot *in = &rx->slot[rx->head], *out = &tx->slot[tx->head];
		uint32_t buffer = out->buf_idx;

		CHECK(in->len <= rx->nr_buf_size && in->buf_idx > 1 && out->buf_idx > 1);
		out->buf_idx = in->buf_idx;
		out->len = in->len;
		out->flags = NS_BUF_CHANGED | (in->flags & NS_MOREFRAG);
		in->buf_idx = buffer;
		in->flags = NS_BUF_CHANGED;
		rx->head = rx->cur = nm_ring_next(rx, rx->head);
		tx->head = tx->cur = nm_ring_next(tx, tx->head);
	}
}

static void pass(const struct side *from, const struct side *to)
{
	for (unsigned i = from->first_rx, o = to->first_tx; i < from->end_rx; i++) {
		pass_ring(rx_ring(from->port, i), tx_ring(to->port, o));
		o = o + 1 < to->end_tx ? o + 1 : to->first_tx;
	}
}

static void wait_for(struct pollfd *fds, nfds_t n)
{
	int r = poll(fds, n, NEVER);

	CHECK(r > 0 || (r < 0 && errno == EINTR));
	for (nfds_t i = 0; i < n; i++)
		CHECK(r < 0 || (fds[i].revents & ~(POLLIN | POLLOUT)) == 0);
}

static void with_two(struct port *a, struct port *b)
{
	struct side sides[2] = { side_of(a), side_of(b) };

	CHECK(a->reg.nr_mem_id == b->reg.nr_mem_id);
	while (!stopped) {
		struct pollfd fds[2] = { { .fd = a->fd }, { .fd = b->fd } };
		for (int i = 0; i < 2; i++) {
			int waits = has_packets(&sides[i]);
			fds[waits ? 1 - i : i].events |= waits ? POLLOUT : POLLIN;
		}
		wait_for(fds, 2);
		pass(&sides[0], &sides[1]);
		pass(&sides[1], &sides[0]);
	}
}

static void with_one(struct port *p)
{
	struct side nic = nic_side(p), host = host_side(p);

	while (!stopped) {
		int waits = has_packets(&nic) || has_packets(&host);
		struct pollfd f = { .fd = p->fd, .events = waits ? POLLOUT : POLLIN };
		wait_for(&f, 1);
		pass(&nic, &host);
		pass(&host, &nic);
	}
}

static void mark_ring(struct netmap_ring *ring)
{
	ring->flags |= NR_FORWARD;
	while (!nm_ring_empty(ring)) {
		ring->slot[ring->head].flags |= NS_FORWARD;
		ring->head = ring->cur = nm_ring_next(ring, ring->head);
	}
}

static void mark_all(struct port *p)
{
	while (!stopped) {
		struct pollfd f = { .fd = p->fd, .events = POLLIN };
		for (unsigned i = 0; i < p->reg.nr_rx_rings + p->reg.nr_host_rx_rings; i++)
			mark_ring(rx_ring(p, i));
		wait_for(&f, 1);
	}
}

/* IPv4, ICMP, a question */
static int is_echo(const uint8_t *packet, size_t length)
{
	return length >= 42 && packet[12] == 8 && packet[13] == 0 && packet[23] == 1 && packet[34] == 8;
}

static void hold(struct port *p)
{
	struct side side = side_of(p);
	unsigned echoes = 0;

	while (!stopped) {
		struct pollfd f = { .fd = p->fd, .events = POLLIN };
		for (unsigned i = side.first_rx; i < side.end_rx; i++) {
			struct netmap_ring *ring = rx_ring(p, i);
			while (!nm_ring_empty(ring)) {
				struct netmap_slot *slot = &ring->slot[ring->head];
				if (is_echo((uint8_t *)NETMAP_BUF(ring, slot->buf_idx), slot->len))
					say("echoes=%u", ++echoes);
				ring->head = ring->cur = nm_ring_next(ring, ring->head);
			}
		}
		wait_for(&f, 1);
	}
}

int main(int argc, char **argv)
{
	struct port a, b;

	CHECK(argc >= 3);
	stop_on_term();
	open_named(&a, argv[2]);
	if (strcmp(argv[1], "two") == 0 && argc == 4)
		open_named(&b, argv[3]);
	else
		CHECK(argc == 3);
	say("ready pid=%d", (int)getpid());
	if (strcmp(argv[1], "two") == 0)
		with_two(&a, &b);
	else if (strcmp(argv[1], "one") == 0)
		with_one(&a);
	else if (strcmp(argv[1], "mark") == 0)
		mark_all(&a);
	else if (strcmp(argv[1], "hold") == 0)
		hold(&a);
	else
		return 2;
	return 0;
}
