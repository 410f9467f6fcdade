/*
 * Endless or counted traffic that checks itself.
 *
 *   traffic tx|rx PORT [key=value...]
 *
 *   id=N      number of the sender (0 to 255), also the last byte of its address      [1]
 *   to=N      last byte of the destination address, 255: broadcast                    [255]
 *   n=N       end after that many packets, 0: never                                   [0]
 *   batch=N   packets per sync                                                        [64]
 *   len=N     bytes of a packet                                                       [64]
 *   frags=N   slots of a packet                                                       [1]
 *   slots=N   slots per ring to ask for                                               [netmap's]
 *   rings=N   rings to ask for                                                        [netmap's]
 *   ring=N    bind to that ring alone                                                 [all]
 *   how=W     sync, poll, select, epoll, et (edge triggered)                          [sync]
 *   cur=head  tx: leave cur at head even if the slots left are too few
 *   gapless=1 rx: no packet may be missing; 2: none after the first that arrives
 *   excl=1    bind exclusively
 *   go=FILE   after "ready" wait until FILE exists
 *   loose=1   rx: count what is right and mind nothing else
 *   hello=1   rx: send one packet first, so that the switch learns the address `id`
 *   then=W    after the last packet: end, hold (until killed)                         [end]
 *
 *   traffic newif|delif NAME      makes or removes a persistent port
 *
 * Lines: "ready pid=N" when bound, "n=N" as packets go by, "end n=N lost=N" at the end, "gone what=WHY" when the
 * device says that it is gone (exit status 3). Status 1 with "FAILED ...": something was not as it must be.
 */
#include "robust.h"
#include <pthread.h>

struct options {
	int tx, gapless, hello, hold, exclusive, loose;
	unsigned id, to, batch, frags, slots, rings;
	int ring;
	size_t len;
	uint64_t n;
	const char *how, *go;
};

static uint64_t total;

/* No progress is said after the end. */
static pthread_mutex_t saying = PTHREAD_MUTEX_INITIALIZER;
static int over;

static void gone(const char *what)
{
	say("n=%llu", (unsigned long long)total);
	say("gone what=%s", what);
	_exit(3);
}

/* Says how far the traffic is, now and then and whenever it stands. */
static void *show_progress(void *nothing)
{
	uint64_t shown = 0;
	for (;;) {
		uint64_t now = __atomic_load_n(&total, __ATOMIC_RELAXED);
		pthread_mutex_lock(&saying);
		if (now != shown && !over)
			say("n=%llu", (unsigned long long)now);
		pthread_mutex_unlock(&saying);
		shown = now;
		usleep(20000);
	}
	return nothing;
}

static void sync_port(struct port *p, int tx)
{
	if (ioctl(p->fd, tx ? NIOCTXSYNC : NIOCRXSYNC, NULL) == 0)
		return;
	say("sync errno=%d", errno);
	gone("sync");
}

/* Waits until the port may have something, which is a sync as well. */
static void wait_port(struct port *p, const struct options *o)
{
	static int ep = -1;
	short events = o->tx ? POLLOUT : POLLIN;
	int r = 0;
	uint32_t got = 0;

	if (strcmp(o->how, "sync") == 0) {
		sync_port(p, o->tx);
		sched_yield();
		return;
	}
	if (strcmp(o->how, "poll") == 0) {
		struct pollfd f = { .fd = p->fd, .events = events };
		r = poll(&f, 1, NEVER);
		got = (uint32_t)(unsigned short)f.revents;
	} else if (strcmp(o->how, "select") == 0) {
		fd_set read, write, except;
		FD_ZERO(&read);
		FD_ZERO(&write);
		FD_ZERO(&except);
		FD_SET(p->fd, o->tx ? &write : &read);
		FD_SET(p->fd, &except);
		r = select(p->fd + 1, &read, &write, &except, NULL);
		/* select has no word for errors but "ready": the sync tells */
		if (r > 0)
			sync_port(p, o->tx);
	} else {
		struct epoll_event e = { .events = (uint32_t)events, .data.fd = p->fd };
		if (strcmp(o->how, "et") == 0)
			e.events |= EPOLLET;
		if (ep < 0) {
			ep = epoll_create1(EPOLL_CLOEXEC);
			CHECK(ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, p->fd, &e) == 0);
		}
		memset(&e, 0, sizeof e);
		r = epoll_wait(ep, &e, 1, NEVER);
		got = e.events;
	}
	if (r < 0 && errno == EINTR)
		return;
	if (r < 0) {
		say("wait errno=%d", errno);
		gone("errno");
	}
	CHECK(r == 1);
	if (got & (POLLERR | POLLHUP | POLLNVAL)) {
		say("revents=0x%x", got);
		gone("revents");
	}
}

static int finished(const struct options *o)
{
	return stopped || (o->n != 0 && total >= o->n);
}

static void transmit(struct port *p, const struct options *o)
{
	uint64_t seq[16] = { 0 };
	unsigned first = o->ring < 0 ? 0 : (unsigned)o->ring;
	unsigned last = o->ring < 0 ? p->reg.nr_tx_rings : first + 1;
	while (!finished(o)) {
		unsigned sent = 0;
		for (unsigned r = first; r < last; r++) {
			uint64_t left = o->n == 0 ? o->batch : o->n - total;
			unsigned most = left < o->batch ? (unsigned)left : o->batch;
			unsigned n = fill_ring(tx_ring(p, r), most, o->len, o->frags, o->to, o->id + r, &seq[r]);
			__atomic_store_n(&total, total + n, __ATOMIC_RELAXED);
			sent += n;
		}
		if (sent != 0 && strcmp(o->how, "sync") != 0) {
			/* poll would do; with edges a sync of our own decides when the next edge comes */
			if (strcmp(o->how, "et") == 0)
				sync_port(p, 1);
		}
		wait_port(p, o);
	}
	while (!stopped) {
		int pending = 0;
		sync_port(p, 1);
		for (unsigned r = first; r < last; r++)
			pending |= nm_tx_pending(tx_ring(p, r));
		if (!pending)
			break;
		sched_yield();
	}
}

static struct seen seen;

/* Counts packets that look right, among whatever else comes. */
static unsigned count_ring(struct netmap_ring *ring)
{
	unsigned n = 0, head = ring->head;
	for (; head != ring->tail; head = nm_ring_next(ring, head), n++) {
		struct label label;
		memcpy(&label, NETMAP_BUF(ring, ring->slot[head].buf_idx) + HEADER, sizeof label);
		if (ring->slot[head].len >= SHORTEST && label.magic == MAGIC && label.length == ring->slot[head].len)
			seen.packets++;
	}
	ring->head = ring->cur = head;
	return n;
}

static void send_hello(struct port *p, unsigned id)
{
	uint64_t seq = 0;
	send_one(p, 0xff, id, &seq);
}

static void receive(struct port *p, const struct options *o)
{
	unsigned first = o->ring < 0 ? 0 : (unsigned)o->ring;
	unsigned last = o->ring < 0 ? p->reg.nr_rx_rings : first + 1;
	while (!finished(o)) {
		unsigned got = 0;
		for (unsigned r = first; r < last; r++)
			got += o->loose ? count_ring(rx_ring(p, r))
					: empty_ring(rx_ring(p, r), o->batch, &seen, o->gapless);
		__atomic_store_n(&total, seen.packets, __ATOMIC_RELAXED);
		if (finished(o))
			break;
		if (got == 0 || strcmp(o->how, "et") != 0)
			wait_port(p, o);
		else
			sync_port(p, 0);
	}
}

static uint64_t number(const char *text)
{
	return strtoull(text, NULL, 0);
}

static void parse(struct options *o, int argc, char **argv)
{
	for (int i = 3; i < argc; i++) {
		char *value = strchr(argv[i], '=');
		CHECK(value != NULL);
		*value++ = 0;
		const char *key = argv[i];
		if (strcmp(key, "id") == 0) o->id = (unsigned)number(value);
		else if (strcmp(key, "to") == 0) o->to = (unsigned)number(value);
		else if (strcmp(key, "n") == 0) o->n = number(value);
		else if (strcmp(key, "batch") == 0) o->batch = (unsigned)number(value);
		else if (strcmp(key, "len") == 0) o->len = number(value);
		else if (strcmp(key, "frags") == 0) o->frags = (unsigned)number(value);
		else if (strcmp(key, "slots") == 0) o->slots = (unsigned)number(value);
		else if (strcmp(key, "rings") == 0) o->rings = (unsigned)number(value);
		else if (strcmp(key, "ring") == 0) o->ring = (int)number(value);
		else if (strcmp(key, "how") == 0) o->how = value;
		else if (strcmp(key, "gapless") == 0) o->gapless = (int)number(value);
		else if (strcmp(key, "excl") == 0) o->exclusive = value[0] == '1';
		else if (strcmp(key, "cur") == 0) cur_is_head = strcmp(value, "head") == 0;
		else if (strcmp(key, "loose") == 0) o->loose = value[0] == '1';
		else if (strcmp(key, "go") == 0) o->go = value;
		else if (strcmp(key, "hello") == 0) o->hello = value[0] == '1';
		else if (strcmp(key, "then") == 0) o->hold = strcmp(value, "hold") == 0;
		else { say("FAILED no option %s", key); _exit(2); }
	}
}

static int interface(int remove, const char *name)
{
	struct nmreq_vale_newif body;
	struct nmreq_header header;
	int fd = open("/dev/netmap", O_RDWR);
	CHECK(fd >= 0);
	memset(&body, 0, sizeof body);
	memset(&header, 0, sizeof header);
	header.nr_version = NETMAP_API;
	header.nr_reqtype = remove ? NETMAP_REQ_VALE_DELIF : NETMAP_REQ_VALE_NEWIF;
	header.nr_body = remove ? 0 : (uintptr_t)&body;
	strncpy(header.nr_name, name, sizeof header.nr_name - 1);
	int e = ioctl(fd, NIOCCTRL, &header) == 0 ? 0 : errno;
	say("errno=%d", e);
	return e != 0;
}

int main(int argc, char **argv)
{
	struct options o = { .id = 1, .to = 0xff, .batch = 64, .len = SHORTEST, .frags = 1, .ring = -1, .how = "sync" };
	struct port p;

	CHECK(argc >= 3);
	if (strcmp(argv[1], "newif") == 0 || strcmp(argv[1], "delif") == 0)
		return interface(argv[1][0] == 'd', argv[2]);
	o.tx = strcmp(argv[1], "tx") == 0;
	parse(&o, argc, argv);
	stop_on_term();
	memset(&p, 0, sizeof p);
	p.reg.nr_tx_slots = p.reg.nr_rx_slots = o.slots;
	p.reg.nr_tx_rings = p.reg.nr_rx_rings = (uint16_t)o.rings;
	if (o.ring >= 0) {
		p.reg.nr_mode = NR_REG_ONE_NIC;
		p.reg.nr_ringid = (uint16_t)o.ring;
	}
	if (o.exclusive)
		p.reg.nr_flags |= NR_EXCLUSIVE;
	int e = try_port(&p, argv[2], 0);
	if (e != 0) {
		say("open errno=%d %s", e, strerror(e));
		return 4;
	}
	if (o.hello)
		send_hello(&p, o.id);
	say("ready pid=%d", (int)getpid());
	while (o.go != NULL && access(o.go, F_OK) != 0)
		usleep(2000);
	pthread_t reporter;
	CHECK(pthread_create(&reporter, NULL, show_progress, NULL) == 0);
	if (o.tx)
		transmit(&p, &o);
	else
		receive(&p, &o);
	pthread_mutex_lock(&saying);
	say("n=%llu", (unsigned long long)total);
	over = 1;
	pthread_mutex_unlock(&saying);
	say("end n=%llu lost=%llu", (unsigned long long)total, (unsigned long long)seen.lost);
	while (o.hold && !stopped)
		pause();
	return 0;
}
