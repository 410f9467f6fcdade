/*
 * Calls that must cost no system call. Between "begin WHAT" and "end WHAT", which are system calls themselves,
 * only calls on netmap descriptors are made, N of them each.
 *
 *   quiet N
 */
#include "robust.h"

static struct port a, b;
static uint64_t seq;
static struct seen seen;

static void begin(const char *what)
{
	say("begin %s", what);
}

static void end(const char *what)
{
	say("end %s", what);
}

static void send_and_receive(unsigned n, int polling)
{
	struct pollfd tx = { .fd = a.fd, .events = POLLOUT }, rx = { .fd = b.fd, .events = POLLIN };
	uint64_t before = seen.packets, sent = 0;
	for (unsigned i = 0; i < n; i++) {
		sent += fill_ring(tx_ring(&a, 0), 1, SHORTEST, 1, 0xff, 1, &seq);
		if (polling)
			CHECK(poll(&tx, 1, NEVER) == 1 && tx.revents == POLLOUT);
		else
			CHECK(ioctl(a.fd, NIOCTXSYNC, NULL) == 0);
		if (polling)
			CHECK(poll(&rx, 1, NEVER) == 1 && rx.revents == POLLIN);
		else
			CHECK(ioctl(b.fd, NIOCRXSYNC, NULL) == 0);
		empty_ring(rx_ring(&b, 0), ~0u, &seen, 0);
	}
	CHECK(sent == n && seen.packets - before == sent);
}

static void both(const char *name, unsigned n)
{
	char what[64];
	for (int polling = 0; polling < 2; polling++) {
		snprintf(what, sizeof what, "%s-%s", name, polling ? "poll" : "sync");
		/* what is done once, like mapping the receiver's memory, is done before */
		send_and_receive(3, polling);
		begin(what);
		send_and_receive(n, polling);
		end(what);
	}
}

int main(int argc, char **argv)
{
	CHECK(argc == 2);
	unsigned n = (unsigned)atoi(argv[1]);
	a = open_port("vale0:a");
	b = open_port("vale0:b");
	both("vale", n);
	/* syncs that find nothing */
	begin("idle");
	for (unsigned i = 0; i < n; i++) {
		CHECK(ioctl(a.fd, NIOCTXSYNC, NULL) == 0);
		CHECK(ioctl(b.fd, NIOCRXSYNC, NULL) == 0);
	}
	end("idle");
	/* polls that find nothing and do not wait */
	begin("idle-poll");
	for (unsigned i = 0; i < n; i++) {
		struct pollfd f = { .fd = b.fd, .events = POLLIN };
		CHECK(poll(&f, 1, 0) == 0);
	}
	end("idle-poll");
	/* epoll and select that find data */
	int ep = epoll_create1(0);
	struct epoll_event e = { .events = EPOLLIN, .data.fd = b.fd };
	CHECK(ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, b.fd, &e) == 0);
	send_one(&a, 0xff, 1, &seq);
	CHECK(epoll_wait(ep, &e, 1, NEVER) == 1);
	begin("epoll-ready");
	for (unsigned i = 0; i < n; i++)
		CHECK(epoll_wait(ep, &e, 1, NEVER) == 1 && e.events == EPOLLIN);
	end("epoll-ready");
	close(ep);
	begin("select-ready");
	for (unsigned i = 0; i < n; i++) {
		fd_set set;
		FD_ZERO(&set);
		FD_SET(b.fd, &set);
		CHECK(select(b.fd + 1, &set, NULL, NULL, NULL) == 1);
	}
	end("select-ready");
	close_port(&a);
	close_port(&b);
	a = open_port("p{1");
	b = open_port("p}1");
	seq = 0;
	memset(&seen, 0, sizeof seen);
	both("pipe", n);
	return 0;
}
