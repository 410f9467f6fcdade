/*
 * A monitor that checks what it sees.
 *
 *   watch PORT FLAGS [key=value...]
 *
 *   FLAGS      of r, t and z: what passes the port's rx rings, its tx rings, both without a copy
 *   n=N        end after that many packets, 0: never                                  [0]
 *   how=W      poll, epoll, sync                                                      [poll]
 *   slots=N    slots of the monitor's rings                                           [netmap's]
 *   loose=1    count packets and mind nothing else
 *   gapless=1  no packet may be missing
 *   deaf=1     never read
 *   write=1    write over what was seen before giving it back
 *
 * Lines: "ready name=NAME mem=N" when bound, "n=N" as packets go by, "end n=N tx=N rx=N lost=N" at the end (after N
 * packets, on SIGTERM, or when the monitored port is gone: "orphan" comes before it then). Status 1 with
 * "FAILED ...": something was not as it must be.
 */
#include "../robust/robust.h"

struct options {
	uint64_t n;
	const char *how;
	unsigned slots;
	int loose, gapless, deaf, write;
};

/* By direction: what comes from the port's tx rings has NS_TXMON. */
static struct seen seen[2];

static uint64_t total(void)
{
	return seen[0].packets + seen[1].packets;
}

static unsigned look(struct netmap_ring *ring, const struct options *o, int zero_copy)
{
	unsigned n = 0;
	for (; ring->head != ring->tail; n++) {
		struct netmap_slot *slot = &ring->slot[ring->head];
		uint8_t *at = (uint8_t *)NETMAP_BUF(ring, slot->buf_idx);
		struct seen *s = &seen[(slot->flags & NS_TXMON) != 0];

		CHECK(slot->len <= ring->nr_buf_size);
		if (!zero_copy)
			CHECK(slot->len >= HEADER);
		if (o->loose)
			s->packets++;
		else
			check_packet(s, at, slot->len, o->gapless);
		if (o->write)
			memset(at, 0xa5, ring->nr_buf_size);
		ring->head = ring->cur = nm_ring_next(ring, ring->head);
	}
	return n;
}

/* Waits a little. 0 once the port is gone. */
static int wait_port(struct port *p, const struct options *o)
{
	static int ep = -1;
	uint32_t got = 0;

	if (strcmp(o->how, "sync") == 0) {
		CHECK(ioctl(p->fd, NIOCRXSYNC, NULL) == 0);
		sched_yield();
		return 1;
	}
	if (strcmp(o->how, "poll") == 0) {
		struct pollfd f = { .fd = p->fd, .events = POLLIN };
		int r = poll(&f, 1, 50);
		CHECK(r >= 0 || errno == EINTR);
		got = r > 0 ? (uint32_t)(unsigned short)f.revents : 0;
	} else {
		struct epoll_event e = { .events = EPOLLIN };
		if (ep < 0) {
			ep = epoll_create1(EPOLL_CLOEXEC);
			CHECK(ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, p->fd, &e) == 0);
		}
		int r = epoll_wait(ep, &e, 1, 50);
		CHECK(r >= 0 || errno == EINTR);
		got = r > 0 ? e.events : 0;
	}
	return (got & (POLLERR | POLLHUP | POLLNVAL)) == 0;
}

static void show_progress(void)
{
	static uint64_t shown, shown_at;
	uint64_t now = milliseconds();
	if (total() == shown || now - shown_at < 20)
		return;
	shown = total();
	shown_at = now;
	say("n=%llu", (unsigned long long)shown);
}

static void parse(struct options *o, int argc, char **argv)
{
	for (int i = 3; i < argc; i++) {
		char *value = strchr(argv[i], '=');
		CHECK(value != NULL);
		*value++ = 0;
		const char *key = argv[i];
		if (strcmp(key, "n") == 0) o->n = strtoull(value, NULL, 0);
		else if (strcmp(key, "how") == 0) o->how = value;
		else if (strcmp(key, "slots") == 0) o->slots = (unsigned)atoi(value);
		else if (strcmp(key, "loose") == 0) o->loose = atoi(value);
		else if (strcmp(key, "gapless") == 0) o->gapless = atoi(value);
		else if (strcmp(key, "deaf") == 0) o->deaf = atoi(value);
		else if (strcmp(key, "write") == 0) o->write = atoi(value);
		else { say("FAILED no option %s", key); _exit(2); }
	}
}

static uint64_t monitor_flags(const char *letters)
{
	uint64_t flags = 0;
	for (; *letters; letters++) {
		if (*letters == 'r') flags |= NR_MONITOR_RX;
		else if (*letters == 't') flags |= NR_MONITOR_TX;
		else if (*letters == 'z') flags |= NR_ZCOPY_MON;
		else { say("FAILED no flag %c", *letters); _exit(2); }
	}
	return flags;
}

int main(int argc, char **argv)
{
	struct options o = { .how = "poll" };
	struct port p;

	CHECK(argc >= 3);
	parse(&o, argc, argv);
	stop_on_term();
	memset(&p, 0, sizeof p);
	p.reg.nr_flags = monitor_flags(argv[2]);
	p.reg.nr_rx_slots = o.slots;
	int zero_copy = (p.reg.nr_flags & NR_ZCOPY_MON) != 0;
	int e = try_port(&p, argv[1], 0);
	if (e != 0) {
		say("open errno=%d %s", e, strerror(e));
		return 4;
	}
	say("ready name=%s mem=%u", p.nif->ni_name, p.reg.nr_mem_id);
	while (o.deaf && !stopped)
		pause();
	while (!stopped && (o.n == 0 || total() < o.n)) {
		unsigned got = 0;
		for (unsigned r = 0; r < p.reg.nr_rx_rings; r++)
			got += look(rx_ring(&p, r), &o, zero_copy);
		show_progress();
		if (got == 0 && !wait_port(&p, &o)) {
			say("orphan");
			break;
		}
		if (got != 0)
			CHECK(ioctl(p.fd, NIOCRXSYNC, NULL) == 0);
	}
	say("end n=%llu tx=%llu rx=%llu lost=%llu", (unsigned long long)total(), (unsigned long long)seen[1].packets,
	    (unsigned long long)seen[0].packets, (unsigned long long)(seen[0].lost + seen[1].lost));
	return 0;
}
