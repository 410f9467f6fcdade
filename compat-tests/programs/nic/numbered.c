/*
 * Packets with numbers between the two ends of a veth pair, of which one comes and goes, and a tally of who has
 * seen which number.
 *
 *   numbered tx PORT TALLY [both]       sends all numbers, in order
 *   numbered rx PORT TALLY              receives until it has all
 *   numbered rounds PORT TALLY ROUNDS   receives, closes the port and opens it again, so many times
 *   numbered tap INTERFACE TALLY        sees what comes over the wire, by AF_PACKET alone
 *
 * TALLY is a file that the test has made: `struct tally` and two bytes for each number. The sender keeps up a pace
 * and stays only so far ahead of those who receive that no queue on the way can overflow: `rx` while it has the port
 * open, else `tap`; with `both` the slower of the two.
 *
 * What must hold is checked where it is seen, and ends the program with a sentence: nothing is doubled, nothing is
 * out of order. What is sent while the port is open comes to the port; what was sent is missing only where the port
 * was closed with packets in its rings, which is one gap just behind the last one received.
 */
#include "../robust/robust.h"
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>

/* A second. Slower where the machine is. */
#define PACE 50000
#define BATCH 64
/* Numbers on the way at most: while the port is open, and while it is not. What lies in the rings of a port that is
 * closed is never seen by anybody, so the second has to be larger. */
#define AHEAD_OPEN 512
#define AHEAD_CLOSED 2048
/* Numbers that have to be seen before a round goes on. */
#define ENOUGH 100
#define SENDER 7

struct tally {
	uint64_t total;
	/* numbers below this have left the sender's ring */
	uint64_t sent;
	/* the receiver asks for silence by another number; that number: the sender is silent */
	uint64_t pause, paused;
	/* which opening of the port is in use, 0: none */
	uint64_t open;
	/* numbers from `strict` on were sent while opening number `strict_of` was in use */
	uint64_t strict, strict_of;
	/* one more than the last number seen by the port, by the tap */
	uint64_t port, tap;
	/* the sender goes no further than this */
	uint64_t limit;
	uint64_t unused[6];
	/* how often each number was seen: by the port, by the tap */
	uint8_t seen[];
};

#define GET(field) __atomic_load_n(&(field), __ATOMIC_ACQUIRE)
#define SET(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELEASE)

static struct tally *t;

static void map_tally(const char *path)
{
	int fd = open(path, O_RDWR);
	off_t size = lseek(fd, 0, SEEK_END);
	CHECK(fd >= 0 && size > (off_t)sizeof *t);
	t = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(t != MAP_FAILED && (uint64_t)size == sizeof *t + 2 * t->total);
	close(fd);
}

static uint8_t *by_port(uint64_t n) { return &t->seen[2 * n]; }
static uint8_t *by_tap(uint64_t n) { return &t->seen[2 * n + 1]; }

/* The number of a packet of ours is seen: after all that were seen before. */
static void see(const uint8_t *packet, size_t length, uint64_t *next, uint8_t *(*by)(uint64_t), const char *who)
{
	struct label label;

	if (length < HEADER + sizeof label)
		return;
	memcpy(&label, packet + HEADER, sizeof label);
	if (label.magic != MAGIC || label.sender != SENDER)
		return;
	CHECK(label.length == length && label.seq < t->total);
	for (size_t i = HEADER + sizeof label; i < length; i++)
		CHECK(packet[i] == pattern(label.seed, i));
	if (label.seq < GET(*next)) {
		say("FAILED %s: number %llu behind %llu", who, (unsigned long long)label.seq,
		    (unsigned long long)GET(*next) - 1);
		_exit(1);
	}
	(*by(label.seq))++;
	SET(*next, label.seq + 1);
}

/* ---- the sender ---- */

static uint64_t microseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }
static uint64_t most(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* Up to which number may be sent now, for the sake of all queues on the way. */
static uint64_t horizon(int both)
{
	uint64_t port = GET(t->port), tap = GET(t->tap);

	if (GET(t->open) == 0)
		return most(port, tap) + AHEAD_CLOSED;
	/* what was sent before the port was open may never come to it */
	port = most(port, t->strict);
	return (both ? least(port, tap) : port) + AHEAD_OPEN;
}

/* How many may go now. `paid`: the time until which the pace has been kept. */
static unsigned allowance(uint64_t next, int both, uint64_t *paid)
{
	uint64_t now = microseconds(), due = (now - *paid) * PACE / 1000000;
	uint64_t end = least(horizon(both), GET(t->limit));

	if (due > BATCH) {
		/* what was not sent in time is not made up for */
		due = BATCH;
		*paid = now - (uint64_t)BATCH * 1000000 / PACE;
	}
	due = end > next ? least(due, end - next) : 0;
	*paid += due * 1000000 / PACE;
	return (unsigned)due;
}

static void flush(struct port *p)
{
	do {
		CHECK(ioctl(p->fd, NIOCTXSYNC, NULL) == 0);
		if (!nm_tx_pending(tx_ring(p, 0)))
			return;
		sched_yield();
	} while (1);
}

static void send_all(const char *name, int both)
{
	struct port p;
	uint64_t next = 0, opening = 0, paid;

	memset(&p, 0, sizeof p);
	p.reg.nr_flags = NR_TX_RINGS_ONLY;
	CHECK(try_port(&p, name, 0) == 0);
	say("ready pid=%d", (int)getpid());
	paid = microseconds();
	while (next < t->total) {
		uint64_t pause = GET(t->pause), open = GET(t->open);
		if (open != opening && open != 0) {
			/* what lies in the ring goes wherever it goes: from here on it can only go to the port */
			SET(t->strict, next);
			SET(t->strict_of, open);
		}
		opening = open;
		if (pause != GET(t->paused)) {
			flush(&p);
			SET(t->sent, next);
			SET(t->paused, pause);
			while (GET(t->pause) == pause && GET(t->open) == open)
				usleep(200);
			paid = microseconds();
			continue;
		}
		unsigned n = allowance(next, both, &paid);
		fill_ring(tx_ring(&p, 0), n, SHORTEST + next % 4 * 100, 1, 0xff, SENDER, &next);
		CHECK(ioctl(p.fd, NIOCTXSYNC, NULL) == 0);
		if (n < BATCH)
			usleep(500);
	}
	flush(&p);
	SET(t->sent, next);
	say("sent n=%llu", (unsigned long long)next);
	while (!stopped)
		pause();
}

/* ---- the port ---- */

static void open_receiver(struct port *p, const char *name)
{
	memset(p, 0, sizeof *p);
	p->reg.nr_flags = NR_RX_RINGS_ONLY | NR_NO_TX_POLL;
	CHECK(try_port(p, name, 0) == 0);
}

/* Takes what is there, after a wait in poll. */
static void take_some(struct port *p)
{
	struct netmap_ring *ring = rx_ring(p, 0);
	short got = poll_now(p->fd, POLLIN, 100);

	CHECK((got & ~POLLIN) == 0);
	while (!nm_ring_empty(ring)) {
		struct netmap_slot *slot = &ring->slot[ring->head];
		CHECK((slot->flags & NS_MOREFRAG) == 0);
		see((const uint8_t *)NETMAP_BUF(ring, slot->buf_idx), slot->len, &t->port, by_port, "port");
		ring->head = ring->cur = nm_ring_next(ring, ring->head);
	}
}

static void receive_all(const char *name)
{
	struct port p;

	open_receiver(&p, name);
	SET(t->limit, t->total);
	SET(t->open, 1);
	say("ready pid=%d", (int)getpid());
	while (GET(t->port) < t->total)
		take_some(&p);
	for (uint64_t n = 0; n < t->total; n++)
		CHECK(*by_port(n) == 1);
	say("end n=%llu", (unsigned long long)t->total);
}

/* All that was sent from `from` up to `to` has come to the port. */
static void check_strict(uint64_t from, uint64_t to, uint64_t round)
{
	for (uint64_t n = from; n < to; n++) {
		if (*by_port(n) == 1)
			continue;
		say("FAILED round %llu: number %llu of %llu to %llu came %u times to the open port, %u to the tap",
		    (unsigned long long)round, (unsigned long long)n, (unsigned long long)from,
		    (unsigned long long)to, *by_port(n), *by_tap(n));
		_exit(1);
	}
}

/* One opening. The number that would have come next when it is over, which is where a gap may begin. */
static uint64_t one_round(const char *name, uint64_t round, uint64_t limit)
{
	struct port p;
	uint64_t end;

	open_receiver(&p, name);
	SET(t->open, round);
	SET(t->limit, limit);
	while (GET(t->strict_of) != round || GET(t->port) < GET(t->strict) + ENOUGH)
		take_some(&p);
	if (round % 2 == 0) {
		/* nothing is on the way when the port is closed */
		SET(t->pause, round);
		while (GET(t->paused) != round || GET(t->port) < GET(t->sent))
			take_some(&p);
	}
	end = GET(t->port);
	check_strict(GET(t->strict), end, round);
	close_port(&p);
	SET(t->open, 0);
	return end;
}

/* Somebody has seen every number from `from` up to `to`. */
static void check_seen(uint64_t from, uint64_t to, uint64_t round)
{
	for (; from < to; from++) {
		if (*by_port(from) + *by_tap(from) != 0)
			continue;
		say("FAILED round %llu: nobody has seen number %llu", (unsigned long long)round,
		    (unsigned long long)from);
		_exit(1);
	}
}

static void receive_in_rounds(const char *name, uint64_t rounds)
{
	/* so many in each round, half of them until the port is open */
	uint64_t part = t->total / (rounds + 1), from = 0, lost = 0;

	CHECK(part / 2 > AHEAD_OPEN + BATCH + ENOUGH);
	SET(t->limit, part / 2);
	say("ready pid=%d", (int)getpid());
	for (uint64_t round = 1; round <= rounds; round++) {
		uint64_t end = one_round(name, round, part * round);
		/* until what is sent goes over the wire again */
		SET(t->limit, part * round + part / 2);
		while (GET(t->tap) < end + ENOUGH)
			usleep(200);
		check_seen(from, end, round);
		/* what lay in the rings */
		for (from = end; *by_tap(from) == 0; from++)
			lost++;
		CHECK(from == end || round % 2 == 1);
		CHECK(from - end <= AHEAD_OPEN + BATCH);
	}
	SET(t->limit, t->total);
	while (GET(t->tap) < t->total)
		usleep(1000);
	check_seen(from, t->total, rounds + 1);
	for (uint64_t n = 0; n < t->total; n++)
		CHECK(*by_port(n) <= 1 && *by_tap(n) <= 1);
	say("end rounds=%llu lost=%llu", (unsigned long long)rounds, (unsigned long long)lost);
}

/* ---- the tap ---- */

#define FRAMES 16384
#define FRAME 1024

static void tap(const char *interface)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), version = TPACKET_V2, one = 1;
	struct tpacket_req wanted = { 1 << 20, FRAMES * FRAME >> 20, FRAME, FRAMES };
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };

	CHECK(fd >= 0 && (address.sll_ifindex = (int)if_nametoindex(interface)) != 0);
	CHECK(setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) == 0);
	CHECK(setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one) == 0);
	CHECK(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &wanted, sizeof wanted) == 0);
	char *frames = mmap(NULL, FRAMES * FRAME, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(frames != MAP_FAILED);
	CHECK(bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
	say("ready pid=%d", (int)getpid());
	for (unsigned at = 0; !stopped; at = (at + 1) % FRAMES) {
		struct tpacket2_hdr *frame = (struct tpacket2_hdr *)(frames + (size_t)at * FRAME);
		while (!(GET(frame->tp_status) & TP_STATUS_USER) && !stopped) {
			struct pollfd f = { .fd = fd, .events = POLLIN };
			poll(&f, 1, 100);
		}
		if (stopped)
			break;
		see((uint8_t *)frame + frame->tp_mac, frame->tp_snaplen, &t->tap, by_tap, "tap");
		SET(frame->tp_status, TP_STATUS_KERNEL);
	}
	say("end n=%llu", (unsigned long long)GET(t->tap));
}

int main(int argc, char **argv)
{
	CHECK(argc >= 4);
	stop_on_term();
	map_tally(argv[3]);
	if (strcmp(argv[1], "tx") == 0)
		send_all(argv[2], argc == 5 && strcmp(argv[4], "both") == 0);
	else if (strcmp(argv[1], "rx") == 0)
		receive_all(argv[2]);
	else if (strcmp(argv[1], "rounds") == 0 && argc >= 5)
		receive_in_rounds(argv[2], strtoull(argv[4], NULL, 10));
	else if (strcmp(argv[1], "tap") == 0)
		tap(argv[2]);
	else
		return 2;
	return 0;
}
