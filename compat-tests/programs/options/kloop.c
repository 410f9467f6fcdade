/*
 * CSB mode and sync loops. Each case is a world of its own.
 */
#include "options.h"

#include <stdatomic.h>

#define ENTRIES 2
#define TX 0
#define RX 1

/* A port in CSB mode, with a thread for its loop. */
struct looped {
	struct port port;
	struct nm_csb_atok *atok;
	struct nm_csb_ktoa *ktoa;
	struct nmreq_sync_kloop_start start;
	void *options;
	pthread_t thread;
	int result, error;
	_Atomic int over;
	struct {
		int io, irq;
	} fds[ENTRIES];
};

/* A page for the CSB: the first half is the program's, the second the loop's. */
static void *csb_page(void)
{
	void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(at != MAP_FAILED);
	return at;
}

static struct nmreq_opt_csb csb_option(void *atok, void *ktoa)
{
	struct nmreq_opt_csb o;
	memset(&o, 0, sizeof o);
	o.nro_opt.nro_reqtype = NETMAP_REQ_OPT_CSB;
	o.nro_opt.nro_status = 0x55;
	o.csb_atok = (uintptr_t)atok;
	o.csb_ktoa = (uintptr_t)ktoa;
	return o;
}

/* The loop's view, which it changes while we look. */
#define SEEN(x) (*(volatile __typeof__(x) *)&(x))

static void open_looped(struct looped *l, const char *name)
{
	memset(l, 0, sizeof *l);
	char *page = csb_page();
	l->atok = (void *)page;
	l->ktoa = (void *)(page + 2048);
	struct nmreq_opt_csb o = csb_option(l->atok, l->ktoa);
	l->port.fd = open_device();
	l->port.reg.nr_mode = NR_REG_ALL_NIC;
	l->port.reg.nr_flags = NR_EXCLUSIVE;
	CHECK(refused(l->port.fd, NETMAP_REQ_REGISTER, name, &l->port.reg, &o) == 0);
	CHECK(o.nro_opt.nro_status == 0);
	CHECK(map_port(&l->port) == 0);
	CHECK(l->ktoa[TX].hwtail == 1023 && l->ktoa[TX].kern_need_kick == 1 && l->ktoa[RX].hwtail == 0);
	CHECK(l->atok[TX].appl_need_kick == 1 && l->atok[RX].sync_flags == 1);
}

static void *loop(void *with)
{
	struct looped *l = with;
	l->result = request(l->port.fd, NETMAP_REQ_SYNC_KLOOP_START, "", &l->start, l->options);
	l->error = errno;
	atomic_store(&l->over, 1);
	return NULL;
}

static void start(struct looped *l, unsigned sleep_us, void *options)
{
	l->start.sleep_us = sleep_us;
	l->options = options;
	l->over = 0;
	CHECK(pthread_create(&l->thread, NULL, loop, l) == 0);
}

/* Waits until the loop runs: it says first of all that it need not be told. */
static void wait_running(struct looped *l)
{
	WAIT_FOR(SEEN(l->ktoa[RX].kern_need_kick) == 0 || l->over);
	CHECK(!l->over);
}

static void stop_by(struct looped *l, int fd)
{
	CHECK(refused(fd, NETMAP_REQ_SYNC_KLOOP_STOP, "", NULL, NULL) == 0);
	CHECK(pthread_join(l->thread, NULL) == 0);
	CHECK(l->result == 0);
}

static void stop(struct looped *l)
{
	stop_by(l, l->port.fd);
}

/* Puts a packet into the tx ring and shows it to the loop. */
static void send_through(struct looped *l, uint64_t *seq)
{
	struct netmap_ring *ring = tx_ring(&l->port, 0);
	uint32_t head = l->atok[TX].head, tail, hwcur;
	nm_sync_kloop_appl_read(&l->ktoa[TX], &tail, &hwcur);
	WAIT_FOR(SEEN(l->ktoa[TX].hwtail) != head);
	struct netmap_slot *slot = &ring->slot[head];
	write_packet((uint8_t *)NETMAP_BUF(ring, slot->buf_idx), SHORTEST, 0xff, 1, (*seq)++);
	slot->len = SHORTEST;
	slot->flags = 0;
	head = nm_ring_next(ring, head);
	nm_sync_kloop_appl_write(&l->atok[TX], head, head);
}

static void kick(struct looped *l, int entry)
{
	if (l->fds[entry].io > 0 && SEEN(l->ktoa[entry].kern_need_kick)) {
		uint64_t one = 1;
		CHECK(write(l->fds[entry].io, &one, sizeof one) == sizeof one);
	}
}

/* Takes what the loop shows in the rx ring. */
static unsigned take_through(struct looped *l, struct seen *seen)
{
	struct netmap_ring *ring = rx_ring(&l->port, 0);
	uint32_t head = l->atok[RX].head, tail, hwcur;
	unsigned n = 0;
	nm_sync_kloop_appl_read(&l->ktoa[RX], &tail, &hwcur);
	for (; head != tail; head = nm_ring_next(ring, head), n++) {
		struct netmap_slot *slot = &ring->slot[head];
		check_packet(seen, (uint8_t *)NETMAP_BUF(ring, slot->buf_idx), slot->len, 2);
	}
	nm_sync_kloop_appl_write(&l->atok[RX], head, head);
	return n;
}

static void send_and_see(struct looped *l, struct port *other, unsigned packets)
{
	struct seen there, here;
	memset(&there, 0, sizeof there);
	memset(&here, 0, sizeof here);
	uint64_t seq = 0, back = 0;
	for (unsigned i = 0; i < packets; i++) {
		send_through(l, &seq);
		kick(l, TX);
		WAIT_FOR(take_now(other, &there) == 1);
		send_one(other, 0xff, 2, &back);
		WAIT_FOR(take_through(l, &here) == 1);
		kick(l, RX);
	}
}

static void asleep(void)
{
	struct looped l;
	struct port other = open_port("vale0:other");
	open_looped(&l, "vale0:l");
	start(&l, 100, NULL);
	send_and_see(&l, &other, 300);
	stop(&l);
	/* again, without a pause */
	start(&l, 0, NULL);
	send_and_see(&l, &other, 300);
	stop(&l);
	close_port(&l.port);
	close_port(&other);
}

struct eventfds {
	struct nmreq_option opt;
	struct {
		int32_t io, irq;
	} fds[ENTRIES];
};

static struct eventfds eventfds_of(struct looped *l)
{
	struct eventfds o;
	memset(&o, 0, sizeof o);
	o.opt.nro_reqtype = NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS;
	o.opt.nro_size = sizeof o;
	o.opt.nro_status = 0x55;
	for (int i = 0; i < ENTRIES; i++) {
		o.fds[i].io = l->fds[i].io = eventfd(0, 0);
		o.fds[i].irq = l->fds[i].irq = eventfd(0, EFD_NONBLOCK);
		CHECK(l->fds[i].io >= 0 && l->fds[i].irq >= 0);
	}
	return o;
}

static void by_eventfds(void)
{
	struct looped l;
	struct port other = open_port("vale0:other");
	open_looped(&l, "vale0:l");
	struct eventfds o = eventfds_of(&l);
	start(&l, 0, &o);
	send_and_see(&l, &other, 500);
	/* the program is told of what arrives */
	uint64_t told = 0, seq = 0;
	(void)!read(l.fds[RX].irq, &told, sizeof told);
	SEEN(l.atok[RX].appl_need_kick) = 1;
	send_one(&other, 0xff, 2, &seq);
	struct pollfd f = { .fd = l.fds[RX].irq, .events = POLLIN };
	CHECK(poll(&f, 1, 30000) == 1);
	/* netmap reads no eventfd of the program's */
	f.fd = l.fds[TX].io;
	CHECK(poll(&f, 1, 0) == 1);
	stop(&l);
	CHECK(o.opt.nro_status == 0);
	close_port(&l.port);
	close_port(&other);
}

static struct nmreq_opt_sync_kloop_mode mode_option(uint32_t mode, void *next)
{
	struct nmreq_opt_sync_kloop_mode o;
	memset(&o, 0, sizeof o);
	o.nro_opt.nro_reqtype = NETMAP_REQ_OPT_SYNC_KLOOP_MODE;
	o.nro_opt.nro_status = 0x55;
	o.nro_opt.nro_next = (uintptr_t)next;
	o.mode = mode;
	return o;
}

/* Direct modes: nothing is synced but what the program kicks. */
static void directly(void)
{
	for (uint32_t mode = 1; mode <= 3; mode++) {
		struct looped l;
		struct port other = open_port("vale0:other");
		struct seen there, here;
		memset(&there, 0, sizeof there);
		memset(&here, 0, sizeof here);
		open_looped(&l, "vale0:l");
		struct eventfds o = eventfds_of(&l);
		struct nmreq_opt_sync_kloop_mode m = mode_option(mode, &o);
		start(&l, 0, &m);
		uint64_t seq = 0, back = 0, one = 1;
		for (int i = 0; i < 100; i++) {
			send_through(&l, &seq);
			CHECK(write(l.fds[TX].io, &one, 8) == 8);
			WAIT_FOR(take_now(&other, &there) == 1);
			send_one(&other, 0xff, 2, &back);
			if (mode & NM_OPT_SYNC_KLOOP_DIRECT_RX) {
				/* told of news, the program asks for them */
				struct pollfd f = { .fd = l.fds[RX].irq, .events = POLLIN };
				CHECK(poll(&f, 1, 30000) == 1);
				CHECK(read(l.fds[RX].irq, &one, 8) == 8);
				one = 1;
			}
			CHECK(write(l.fds[RX].io, &one, 8) == 8);
			WAIT_FOR(take_through(&l, &here) == 1);
		}
		stop(&l);
		CHECK(m.nro_opt.nro_status == 0 && o.opt.nro_status == 0);
		close_port(&l.port);
		close_port(&other);
		for (int i = 0; i < ENTRIES; i++) {
			close(l.fds[i].io);
			close(l.fds[i].irq);
		}
	}
}

/* Both ends of a pipe in loops: lossless. */
static void two_ends_of_a_pipe(void)
{
	struct looped a, b;
	open_looped(&a, "lp{1");
	open_looped(&b, "lp}1");
	start(&a, 0, NULL);
	start(&b, 0, NULL);
	struct seen seen;
	memset(&seen, 0, sizeof seen);
	uint64_t seq = 0;
	while (seen.packets < 5000) {
		if (seq < 5000 && SEEN(a.ktoa[TX].hwtail) != a.atok[TX].head)
			send_through(&a, &seq);
		take_through(&b, &seen);
	}
	CHECK(seen.lost == 0);
	stop(&a);
	stop(&b);
	close_port(&a.port);
	close_port(&b.port);
}

static void no_syncs_in_csb_mode_child(void *with)
{
	struct port *p = with;
	CHECK(ioctl(p->fd, NIOCTXSYNC, NULL) == -1 && errno == EBUSY);
	CHECK(ioctl(p->fd, NIOCRXSYNC, NULL) == -1 && errno == EBUSY);
	struct pollfd f = { .fd = p->fd, .events = POLLIN };
	CHECK(poll(&f, 1, 0) == 1 && f.revents == POLLERR);
}

static void no_syncs_in_csb_mode(void)
{
	struct looped l;
	open_looped(&l, "vale0:l");
	no_syncs_in_csb_mode_child(&l.port);
	in_child(no_syncs_in_csb_mode_child, &l.port);
	close_port(&l.port);
	/* CSB_ENABLE of a port that is open, seen by who has it from before */
	struct port p;
	memset(&p, 0, sizeof p);
	p.reg.nr_flags = NR_EXCLUSIVE;
	CHECK(try_port(&p, "vale0:l", 0) == 0);
	int up[2], down[2], status;
	char c = 0;
	CHECK(pipe(up) == 0 && pipe(down) == 0);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		CHECK(ioctl(p.fd, NIOCTXSYNC, NULL) == 0);
		CHECK(write(up[1], &c, 1) == 1 && read(down[0], &c, 1) == 1);
		no_syncs_in_csb_mode_child(&p);
		_exit(0);
	}
	CHECK(read(up[0], &c, 1) == 1);
	char *page = csb_page();
	struct nmreq_opt_csb o = csb_option(page, page + 2048);
	CHECK(refused(p.fd, NETMAP_REQ_CSB_ENABLE, "", NULL, &o) == 0 && o.nro_opt.nro_status == 0);
	no_syncs_in_csb_mode_child(&p);
	CHECK(write(down[1], &c, 1) == 1);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	close_port(&p);
}

static int register_with(int fd, struct nmreq_opt_csb *o, uint64_t flags)
{
	struct nmreq_register reg = { .nr_mode = NR_REG_ALL_NIC, .nr_flags = flags };
	int e = refused(fd, NETMAP_REQ_REGISTER, "vale0:l", &reg, o);
	CHECK(o->nro_opt.nro_status == (uint32_t)e);
	return e;
}

static void bad_csbs(void)
{
	char *page = csb_page(), *good = page;
	char *last = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(last != MAP_FAILED && mprotect(last + 4096, 4096, PROT_NONE) == 0);
	char *read_only = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(read_only != MAP_FAILED);
	const struct {
		void *atok, *ktoa;
		uint64_t flags;
		int want;
	} t[] = {
		{ good, good + 2048, 0, EINVAL },
		{ good + 32, good + 2048, NR_EXCLUSIVE, EINVAL },
		{ good, good + 2049, NR_EXCLUSIVE, EINVAL },
		{ NULL, NULL, NR_EXCLUSIVE, EFAULT },
		{ good, NULL, NR_EXCLUSIVE, EFAULT },
		{ NULL, good, NR_EXCLUSIVE, EFAULT },
		{ (void *)0x7fffffffff00, good, NR_EXCLUSIVE, EFAULT },
		{ (void *)-64, good, NR_EXCLUSIVE, EFAULT },
		{ last + 4096 - 64, good, NR_EXCLUSIVE, EFAULT },
		{ good, last + 4096 - 64, NR_EXCLUSIVE, EFAULT },
		{ good, read_only, NR_EXCLUSIVE, EFAULT },
		{ read_only, good, NR_EXCLUSIVE, 0 },
	};
	for (size_t i = 0; i < COUNT(t); i++) {
		int fd = open_device();
		struct nmreq_opt_csb o = csb_option(t[i].atok, t[i].ktoa);
		CHECK(register_with(fd, &o, t[i].flags) == t[i].want);
		/* a refusal has left it unbound */
		CHECK((ioctl(fd, NIOCTXSYNC, NULL) == -1) && errno == (t[i].want ? ENXIO : EBUSY));
		if (t[i].want) {
			o = csb_option(good, good + 2048);
			CHECK(register_with(fd, &o, NR_EXCLUSIVE) == 0);
		}
		close(fd);
	}
	/* a CSB that cannot be used and an option that nobody knows: the CSB comes first */
	int fd = open_device();
	struct nmreq_option unknown = { .nro_reqtype = 77 };
	struct nmreq_opt_csb o = csb_option(NULL, NULL);
	o.nro_opt.nro_next = (uintptr_t)&unknown;
	CHECK(register_with(fd, &o, NR_EXCLUSIVE) == EFAULT && unknown.nro_status == EOPNOTSUPP);
	o = csb_option(good, good + 2048);
	o.nro_opt.nro_next = (uintptr_t)&unknown;
	struct nmreq_register reg = { .nr_mode = NR_REG_ALL_NIC, .nr_flags = NR_EXCLUSIVE };
	CHECK(refused(fd, NETMAP_REQ_REGISTER, "vale0:l", &reg, &o) == EOPNOTSUPP && o.nro_opt.nro_status == 0);
	/* enabling: a bad one leaves what was there before */
	o = csb_option(good, good + 2048);
	CHECK(register_with(fd, &o, NR_EXCLUSIVE) == 0);
	o = csb_option(NULL, NULL);
	CHECK(refused(fd, NETMAP_REQ_CSB_ENABLE, "", NULL, &o) == EFAULT && o.nro_opt.nro_status == EFAULT);
	CHECK(ioctl(fd, NIOCTXSYNC, NULL) == -1 && errno == EBUSY);
	close(fd);
}

static void refusals(void)
{
	struct looped l;
	struct nmreq_sync_kloop_start s = { .sleep_us = 1000001 };
	int fd = open_device();
	CHECK(refused(fd, NETMAP_REQ_SYNC_KLOOP_START, "", &s, NULL) == EINVAL);
	s.sleep_us = 0;
	CHECK(refused(fd, NETMAP_REQ_SYNC_KLOOP_START, "", &s, NULL) == ENXIO);
	CHECK(refused(fd, NETMAP_REQ_SYNC_KLOOP_STOP, "", NULL, NULL) == ENXIO);
	CHECK(refused(fd, NETMAP_REQ_SYNC_KLOOP_START, "", NULL, NULL) == EINVAL);
	CHECK(refused(fd, NETMAP_REQ_SYNC_KLOOP_STOP, "", &s, NULL) == EINVAL);
	CHECK(refused(fd, NETMAP_REQ_SYNC_KLOOP_START, "", (void *)8, NULL) == EFAULT);
	close(fd);

	open_looped(&l, "vale0:l");
	fd = l.port.fd;
	struct nmreq_opt_sync_kloop_mode m = mode_option(4, NULL);
	CHECK(refused(fd, NETMAP_REQ_SYNC_KLOOP_START, "", &s, &m) == EINVAL && m.nro_opt.nro_status == EINVAL);
	struct eventfds o = eventfds_of(&l);
	o.opt.nro_size = sizeof o - 8;
	CHECK(refused(fd, NETMAP_REQ_SYNC_KLOOP_START, "", &s, &o) == EINVAL && o.opt.nro_status == EINVAL);
	o.opt.nro_size = sizeof o;
	o.fds[1].io = -1;
	m = mode_option(NM_OPT_SYNC_KLOOP_DIRECT_TX, &o);
	CHECK(refused(fd, NETMAP_REQ_SYNC_KLOOP_START, "", &s, &m) == EINVAL && o.opt.nro_status == EINVAL);
	/* netmap returns what is wrong with a descriptor as the value of ioctl */
	o.fds[1].io = l.fds[1].io;
	o.fds[0].irq = 9999;
	CHECK(request(fd, NETMAP_REQ_SYNC_KLOOP_START, "", &s, &o) == EBADF && o.opt.nro_status == 0);
	o.fds[0].irq = 1;
	CHECK(request(fd, NETMAP_REQ_SYNC_KLOOP_START, "", &s, &o) == EINVAL);
	o.fds[0].irq = l.fds[0].irq;
	o.fds[1].io = fd;
	CHECK(request(fd, NETMAP_REQ_SYNC_KLOOP_START, "", &s, &o) == EINVAL);
	/* none of these has left a loop behind */
	start(&l, 100, NULL);
	wait_running(&l);
	CHECK(refused(fd, NETMAP_REQ_SYNC_KLOOP_START, "", &s, NULL) == EBUSY);
	char *page = csb_page();
	struct nmreq_opt_csb c = csb_option(page, page + 2048);
	CHECK(refused(fd, NETMAP_REQ_CSB_ENABLE, "", NULL, &c) == EBUSY && c.nro_opt.nro_status == EBUSY);
	stop(&l);
	close_port(&l.port);
}

static void stop_before_start(void)
{
	struct looped l;
	open_looped(&l, "vale0:l");
	for (int i = 0; i < 3; i++) {
		CHECK(refused(l.port.fd, NETMAP_REQ_SYNC_KLOOP_STOP, "", NULL, NULL) == 0);
		/* over before it begins, in this very thread */
		struct nmreq_sync_kloop_start s = { 0 };
		CHECK(refused(l.port.fd, NETMAP_REQ_SYNC_KLOOP_START, "", &s, NULL) == 0);
	}
	start(&l, 10, NULL);
	wait_running(&l);
	stop(&l);
	close_port(&l.port);
}

/* When STOP has returned the loop is over. */
static void stop_waits(void)
{
	struct looped l;
	open_looped(&l, "vale0:l");
	for (int i = 0; i < 100; i++) {
		start(&l, 2000, NULL);
		wait_running(&l);
		CHECK(refused(l.port.fd, NETMAP_REQ_SYNC_KLOOP_STOP, "", NULL, NULL) == 0);
		struct nmreq_opt_csb o = csb_option(l.atok, l.ktoa);
		CHECK(refused(l.port.fd, NETMAP_REQ_CSB_ENABLE, "", NULL, &o) == 0);
		CHECK(pthread_join(l.thread, NULL) == 0 && l.result == 0);
	}
	close_port(&l.port);
}

static void stop_child(void *with)
{
	struct looped *l = with;
	CHECK(refused(l->port.fd, NETMAP_REQ_SYNC_KLOOP_STOP, "", NULL, NULL) == 0);
}

static void stopped_by_others(void)
{
	struct looped l;
	open_looped(&l, "vale0:l");
	struct eventfds o = eventfds_of(&l);
	for (int i = 0; i < 4; i++) {
		start(&l, 1000, i % 2 ? &o : NULL);
		wait_running(&l);
		if (i < 2) {
			/* a child has the descriptor */
			in_child(stop_child, &l);
			CHECK(pthread_join(l.thread, NULL) == 0 && l.result == 0);
		} else {
			int twin = dup(l.port.fd);
			stop_by(&l, twin);
			close(twin);
		}
		l.ktoa[RX].kern_need_kick = 1;
	}
	close_port(&l.port);
}

static _Atomic int signals;

static void count_signal(int signal)
{
	(void)signal;
	signals++;
}

static void *stopper;

static void stop_in_handler(int signal)
{
	struct looped *l = stopper;
	(void)signal;
	CHECK(refused(l->port.fd, NETMAP_REQ_SYNC_KLOOP_STOP, "", NULL, NULL) == 0);
}

static void signals_in_the_loop(void)
{
	struct looped l;
	struct port other = open_port("vale0:other");
	open_looped(&l, "vale0:l");
	struct eventfds o = eventfds_of(&l);
	struct sigaction count = { .sa_handler = count_signal }, end = { .sa_handler = stop_in_handler };
	CHECK(sigaction(SIGUSR1, &count, NULL) == 0 && sigaction(SIGUSR2, &end, NULL) == 0);
	for (int i = 0; i < 2; i++) {
		start(&l, 1000, i ? &o : NULL);
		wait_running(&l);
		for (int n = 0; n < 200; n++) {
			int before = signals;
			CHECK(pthread_kill(l.thread, SIGUSR1) == 0);
			WAIT_FOR(signals > before);
			CHECK(!l.over);
		}
		send_and_see(&l, &other, 10);
		stopper = &l;
		CHECK(pthread_kill(l.thread, SIGUSR2) == 0);
		CHECK(pthread_join(l.thread, NULL) == 0 && l.result == 0);
		l.ktoa[RX].kern_need_kick = 1;
	}
	close_port(&l.port);
	close_port(&other);
}

/* The loop holds the port open, as an ioctl holds a file. */
static void closed_while_it_runs(void)
{
	struct looped l;
	struct port other = open_port("vale0:other");
	open_looped(&l, "vale0:l");
	int twin = dup(l.port.fd);
	start(&l, 100, NULL);
	wait_running(&l);
	close(l.port.fd);
	send_and_see(&l, &other, 20);
	/* the number is somebody else's now */
	int fd = open_device();
	CHECK(fd == l.port.fd);
	close(fd);
	stop_by(&l, twin);
	close(twin);
	close_port(&other);
}

static void run_until_killed(struct looped *l, int ready)
{
	start(l, 100, NULL);
	wait_running(l);
	CHECK(write(ready, "x", 1) == 1);
	for (;;)
		pause();
}

static void the_looping_process_dies(void)
{
	for (int i = 0; i < 3; i++) {
		struct looped l;
		int ready[2], status;
		char c;
		open_looped(&l, "vale0:l");
		CHECK(pipe(ready) == 0);
		pid_t pid = fork();
		CHECK(pid >= 0);
		if (pid == 0)
			run_until_killed(&l, ready[1]);
		CHECK(read(ready[0], &c, 1) == 1);
		struct nmreq_sync_kloop_start s = { 0 };
		CHECK(refused(l.port.fd, NETMAP_REQ_SYNC_KLOOP_START, "", &s, NULL) == EBUSY);
		kill(pid, i == 0 ? SIGKILL : SIGTERM);
		CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
		/* the loop is over with it, and another can begin */
		CHECK(refused(l.port.fd, NETMAP_REQ_SYNC_KLOOP_STOP, "", NULL, NULL) == 0);
		start(&l, 100, NULL);
		WAIT_FOR(l.over || SEEN(l.ktoa[RX].kern_need_kick) == 0);
		if (!l.over || l.result == 0) {
			stop(&l);
		} else {
			CHECK(pthread_join(l.thread, NULL) == 0);
			CHECK(l.error == EBUSY);
			WAIT_FOR(refused(l.port.fd, NETMAP_REQ_SYNC_KLOOP_START, "", &s, NULL) == 0);
		}
		close_port(&l.port);
		close(ready[0]);
		close(ready[1]);
	}
}

/* The program takes the CSB away from under the loop. */
static void csb_unmapped(void)
{
	for (int i = 0; i < 3; i++) {
		struct looped l;
		open_looped(&l, "vale0:l");
		start(&l, 0, NULL);
		wait_running(&l);
		if (i == 0)
			CHECK(munmap(l.atok, 4096) == 0);
		if (i == 1)
			CHECK(mprotect(l.atok, 4096, PROT_NONE) == 0);
		if (i == 2)
			memset(l.atok, 0xff, 4096);
		pause_ms(20);
		CHECK(!l.over);
		stop(&l);
		/* and a loop that begins without one */
		start(&l, 0, NULL);
		pause_ms(5);
		stop(&l);
		close_port(&l.port);
	}
}

/* Nonsense in head and cur, over and over: only the port itself suffers. */
static void wild_csb(void)
{
	struct looped l;
	struct port a = open_port("vale0:a"), b = open_port("vale0:b");
	open_looped(&l, "vale0:l");
	struct eventfds o = eventfds_of(&l);
	start(&l, 0, &o);
	wait_running(&l);
	unsigned x = 1;
	uint64_t one = 1, seq = 0;
	struct seen seen;
	memset(&seen, 0, sizeof seen);
	for (int i = 0; i < 3000; i++) {
		x = x * 1103515245u + 12345u;
		SEEN(l.atok[i & 1].head) = i & 2 ? x : x >> 20;
		SEEN(l.atok[i & 1].cur) = i & 4 ? x >> 3 : x >> 21;
		SEEN(l.ktoa[i & 1].hwcur) = x;
		CHECK(write(l.fds[i & 1].io, &one, 8) == 8);
		if (i % 10 == 0)
			check_path(&a, &b, 3, &seq, &seen);
	}
	stop(&l);
	close_port(&l.port);
	close_port(&a);
	close_port(&b);
}

/* Leaves the process with a loop in motion. */
static void left_running(void)
{
	struct looped l;
	open_looped(&l, "vale0:l");
	start(&l, 100, NULL);
	wait_running(&l);
}

/* For a test that ends the daemon: says how the loop ended. */
static void until_the_daemon_ends(void)
{
	struct looped l;
	open_looped(&l, "vale0:l");
	struct eventfds o = eventfds_of(&l);
	start(&l, 100, getenv("EVENTS") ? &o : NULL);
	wait_running(&l);
	say("ready");
	CHECK(pthread_join(l.thread, NULL) == 0);
	CHECK(l.result == -1 && l.error == ENXIO);
}

static const struct test_case cases[] = {
	{ "asleep", asleep },
	{ "by-eventfds", by_eventfds },
	{ "directly", directly },
	{ "two-ends-of-a-pipe", two_ends_of_a_pipe },
	{ "no-syncs-in-csb-mode", no_syncs_in_csb_mode },
	{ "bad-csbs", bad_csbs },
	{ "refusals", refusals },
	{ "stop-before-start", stop_before_start },
	{ "stop-waits", stop_waits },
	{ "stopped-by-others", stopped_by_others },
	{ "signals-in-the-loop", signals_in_the_loop },
	{ "closed-while-it-runs", closed_while_it_runs },
	{ "the-looping-process-dies", the_looping_process_dies },
	{ "csb-unmapped", csb_unmapped },
	{ "wild-csb", wild_csb },
	{ "left-running", left_running },
};

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "until-the-daemon-ends") == 0) {
		until_the_daemon_ends();
		return 0;
	}
	return run_cases(argc, argv, cases, COUNT(cases));
}
