/*
 * CSB mode and sync loops: ways to run, and refusals. Each case is a world of its own.
 */
#include "kloop.h"

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

static const struct test_case cases[] = {
	{ "asleep", asleep },
	{ "by-eventfds", by_eventfds },
	{ "directly", directly },
	{ "two-ends-of-a-pipe", two_ends_of_a_pipe },
	{ "no-syncs-in-csb-mode", no_syncs_in_csb_mode },
	{ "bad-csbs", bad_csbs },
	{ "refusals", refusals },
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, cases, COUNT(cases));
}
