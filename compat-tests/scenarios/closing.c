/* A close is done when it returns: nothing of the port is left for whoever looks next, unless it is mapped. */
#include "scenario.h"

#define ROUNDS 200

static int is_listed(int fd, const char *name)
{
	struct nmreq_vale_list list = { 0 };
	struct nmreq_header header;
	for (;; list.nr_port_idx++) {
		make_header(&header, NETMAP_REQ_VALE_LIST, "", &list, NULL);
		if (ioctl(fd, NIOCCTRL, &header) < 0)
			return 0;
		if (!strcmp(header.nr_name, name))
			return 1;
	}
}

static void then_list(void)
{
	int fd = open_device(), seen = 0;
	MUST_OPEN(stays, "valez:stays");
	for (int i = 0; i < ROUNDS; i++) {
		MUST_OPEN(p, "valez:goes");
		is_listed(fd, "valez:goes");
		close_port(&p);
		seen += is_listed(fd, "valez:goes");
	}
	fact("seen", "%d", seen);
}

static void then_exclusive(void)
{
	int refused = 0;
	for (int i = 0; i < ROUNDS; i++) {
		OPEN(p, "valez:x", .nr_flags = NR_EXCLUSIVE);
		refused += p.error != 0;
		close_port(&p);
	}
	fact("refused", "%d", refused);
}

/* The mapping stays when the descriptor goes, and keeps the port: every packet comes into it, until it is unmapped. */
static void then_send(void)
{
	int written = 0;
	MUST_OPEN(a, "valez:a");
	for (int i = 0; i < ROUNDS; i++) {
		MUST_OPEN(b, "valez:b");
		struct netmap_ring *ring = rxring(&b, 0);
		uint8_t *data = (uint8_t *)NETMAP_BUF(ring, ring->slot[0].buf_idx);
		data[59] = 0x77;
		close(b.fd);
		put(&a, 0x5c);
		txsync(&a);
		written += data[59] == 0x5c;
		b.fd = -1;
		close_port(&b);
	}
	fact("written", "%d", written);
}

/* The same when it was the end of a process. */
static void by_exit(void)
{
	int fd = open_device(), seen = 0;
	MUST_OPEN(stays, "valez:stays");
	for (int i = 0; i < ROUNDS / 4; i++) {
		pid_t child = fork();
		if (child == 0) {
			OPEN(p, "valez:goes");
			_exit(p.error);
		}
		int status;
		waitpid(child, &status, 0);
		NEED(status == 0);
		seen += is_listed(fd, "valez:goes");
	}
	fact("seen", "%d", seen);
}

SCENARIO("switch", "a close is done when it returns",
	{ "then_list", then_list }, { "then_exclusive", then_exclusive }, { "then_send", then_send }, { "by_exit", by_exit })
