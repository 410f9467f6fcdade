/*
 * Opens again and again, also when daemons come and go.
 *
 *   reopen N             works, waits for the end of the daemon, N times
 *   reopen forever NAME  opens, binds, sends and closes; "n=N" says how often that worked
 */
#include "robust.h"

static void one_after_the_other(int rounds)
{
	for (int i = 0; i < rounds; i++) {
		struct port a = open_port("vale0:a"), b = open_port("vale0:b");
		struct pollfd f = { .fd = a.fd, .events = POLLIN };
		uint64_t seq = 0;
		struct seen seen = { 0 };
		check_path(&a, &b, 1, &seq, &seen);
		say("works %d", i);
		CHECK(poll(&f, 1, NEVER) == 1);
		CHECK(f.revents == (POLLERR | POLLHUP));
		/* and from now on, whatever is called */
		CHECK(poll(&f, 1, NEVER) == 1 && (f.revents & POLLERR) != 0);
		CHECK(ioctl(a.fd, NIOCTXSYNC, NULL) == -1 && errno == ENXIO);
		CHECK(ioctl(a.fd, NIOCRXSYNC, NULL) == -1 && errno == ENXIO);
		struct nmreq_register reg = { .nr_mode = NR_REG_ALL_NIC };
		CHECK(bind_to(a.fd, "vale0:c", &reg) != 0);
		/* the memory stays */
		CHECK(tx_ring(&a, 0)->num_slots > 0);
		close_port(&a);
		close_port(&b);
	}
}

static void forever(const char *name)
{
	uint64_t n = 0, shown = 0;
	while (!stopped) {
		struct port p;
		memset(&p, 0, sizeof p);
		int e = try_port(&p, name, 0);
		if (e == 0) {
			uint64_t seq = 0;
			CHECK(fill_ring(tx_ring(&p, 0), 1, SHORTEST, 1, 0xff, 1, &seq) == 1);
			if (ioctl(p.fd, NIOCTXSYNC, NULL) != 0)
				CHECK(errno == ENXIO);
			close_port(&p);
			n++;
		} else if (e != ENXIO) {
			say("FAILED errno %d: %s", e, strerror(e));
			_exit(1);
		}
		uint64_t now = milliseconds();
		if (now - shown >= 20) {
			say("n=%llu", (unsigned long long)n);
			shown = now;
		}
	}
}

int main(int argc, char **argv)
{
	CHECK(argc >= 2);
	stop_on_term();
	say("ready pid=%d", (int)getpid());
	if (strcmp(argv[1], "forever") == 0)
		forever(argv[2]);
	else
		one_after_the_other(atoi(argv[1]));
	return 0;
}
