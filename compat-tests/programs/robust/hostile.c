/*
 * Programs that do what no program should.
 *
 *   hostile scribble PORT ROUNDS SEED   binds PORT, writes random words all over its mapping and syncs
 *   hostile slots PORT ROUNDS SEED      binds PORT and sends slots of nonsense: lengths, indices, flags, heads
 *   hostile fd PORT                     sends garbage on the descriptor itself, shuts it down, and so on
 *   hostile empty PORT                  sends a message of no bytes on the descriptor
 *   hostile socket PATH ROUNDS SEED     talks nonsense to the socket at PATH
 *   hostile requests ROUNDS SEED        NIOCCTRL with garbage
 *   hostile errors                      the errnos of requests that are wrong in one point
 *
 * Ends with "done" and status 0 whatever came back, except for crashes.
 */
#include "robust.h"
#include <pthread.h>
#include <sys/un.h>

static uint64_t state;

static uint64_t any(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void seed(const char *text)
{
	state = strtoull(text, NULL, 0) * 2654435761u + 88172645463325252ull;
	for (int i = 0; i < 10; i++)
		any();
}

/* ---- memory ---- */

struct target {
	struct port port;
	/* where rings and netmap_ifs are, which interests us more than packets */
	size_t control;
	struct netmap_ring *tx, *rx;
};

static struct target bind_target(const char *name)
{
	struct target t;
	t.port = open_port(name);
	t.tx = tx_ring(&t.port, 0);
	t.rx = rx_ring(&t.port, 0);
	t.control = (size_t)((char *)t.tx + t.tx->buf_ofs - t.port.mem);
	CHECK(t.control > 0 && t.control < t.port.size);
	return t;
}

static void sync_somehow(struct target *t)
{
	struct pollfd f = { .fd = t->port.fd, .events = POLLIN | POLLOUT };
	switch (any() % 4) {
	case 0: ioctl(t->port.fd, NIOCTXSYNC, NULL); break;
	case 1: ioctl(t->port.fd, NIOCRXSYNC, NULL); break;
	case 2: f.events = POLLIN; /* fall through */
	default: CHECK(poll(&f, 1, 0) >= 0);
	}
}

/* A word that may make sense to somebody, or none at all. */
static uint32_t word(void)
{
	static const uint32_t special[] = { 0, 1, 2, 15, 16, 1023, 1024, 1025, 2048, 4095, 4096, 65535, 0x7fffffff,
					    0x80000000u, 0xffffffffu };
	return any() % 2 ? special[any() % (sizeof special / sizeof special[0])] : (uint32_t)any();
}

static void scribble(const char *name, unsigned rounds)
{
	struct target t = bind_target(name);
	uint32_t *words = (uint32_t *)t.port.mem;
	for (unsigned i = 0; i < rounds; i++) {
		for (int k = 0; k < 20; k++) {
			size_t bytes = any() % 8 == 0 ? t.port.size : t.control;
			words[any() % (bytes / 4)] = word();
		}
		/* the fields that matter, so that most rounds get past the first check */
		if (any() % 2) {
			t.tx->head = t.tx->cur = (uint32_t)(any() % 1024);
			t.rx->head = t.rx->cur = (uint32_t)(any() % 1024);
		}
		sync_somehow(&t);
		if (i % 1000 == 0)
			say("n=%u", i);
	}
}

/* Every slot of the tx ring is nonsense, but head is right: all of it is looked at. */
static void slots(const char *name, unsigned rounds)
{
	struct target t = bind_target(name);
	for (unsigned i = 0; i < rounds; i++) {
		uint32_t head = t.tx->head, n = 0;
		while (head != t.tx->tail && n++ < 200) {
			struct netmap_slot *s = &t.tx->slot[head];
			s->buf_idx = any() % 3 ? s->buf_idx : word();
			s->len = (uint16_t)word();
			s->flags = (uint16_t)any();
			s->ptr = any() % 2 ? any() : (uintptr_t)&state + any() % 100000;
			head = nm_ring_next(t.tx, head);
		}
		t.tx->head = t.tx->cur = head;
		sync_somehow(&t);
		/* and give back what came, with indices of nonsense */
		if (t.rx->head != t.rx->tail && any() % 2) {
			t.rx->slot[t.rx->head].buf_idx = word();
			t.rx->slot[t.rx->head].flags = NS_BUF_CHANGED;
			t.rx->head = t.rx->cur = t.rx->tail;
		}
		if (i % 1000 == 0)
			say("n=%u", i);
	}
}

/* ---- descriptor ---- */

static void on_descriptor(const char *name)
{
	struct port p = open_port(name);
	char bytes[70000];
	int pair[2];
	memset(bytes, 'x', sizeof bytes);
	seed("1");
	for (int i = 0; i < 2000; i++) {
		size_t n = 1 + any() % 300;
		for (size_t k = 0; k < n; k++)
			bytes[k] = (char)any();
		/* whatever is allowed: the kernel would refuse it all */
		send(p.fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (write(p.fd, bytes, n) < 0)
			errno = 0;
	}
	send(p.fd, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	char space[CMSG_SPACE(sizeof(int))];
	memset(space, 0, sizeof space);
	for (int i = 0; i < 200; i++) {
		struct iovec iov = { bytes, (size_t)(1 + any() % 60) };
		struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space,
				    .msg_controllen = sizeof space };
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &pair[i & 1], sizeof(int));
		sendmsg(p.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	if (read(p.fd, bytes, 1) < 0)
		errno = 0;
	/* it still is what it was */
	struct port other = open_port("vale0:other");
	uint64_t seq = 0;
	struct seen seen = { 0 };
	check_path(&other, &p, 1, &seq, &seen);
	check_path(&p, &other, 2, &seq, &seen);
	/* the end of it, if it works at all; nothing may hang then */
	shutdown(p.fd, SHUT_RDWR);
	struct pollfd f = { .fd = p.fd, .events = POLLIN };
	ioctl(p.fd, NIOCRXSYNC, NULL);
	ioctl(p.fd, NIOCTXSYNC, NULL);
	poll(&f, 1, 10);
	close_port(&p);
	take_now(&other, &seen);
}

/* A message of no bytes is no hang-up. */
static void empty_message(const char *name)
{
	struct port p = open_port(name), other = open_port("vale0:other");
	uint64_t seq = 0;
	struct seen seen = { 0 };
	if (send(p.fd, "", 0, MSG_NOSIGNAL) < 0 || write(p.fd, "", 0) < 0)
		errno = 0;
	/* a request of its own comes after the message, on the same way */
	struct nmreq_register again = { .nr_mode = NR_REG_ALL_NIC };
	CHECK(bind_to(p.fd, "vale0:again", &again) == EBUSY);
	check_path(&other, &p, 1, &seq, &seen);
	check_path(&p, &other, 2, &seq, &seen);
}

/* ---- the daemon's socket ---- */

static int reach(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	strncpy(a.sun_path, path, sizeof a.sun_path - 1);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0);
	CHECK(connect(fd, (struct sockaddr *)&a, sizeof a) == 0);
	return fd;
}

static void at_socket(const char *path, unsigned rounds)
{
	enum { MANY = 50 };
	static uint8_t bytes[40000];
	int open_ones[MANY], fds[8], file = open("/dev/null", O_RDWR);
	for (int i = 0; i < MANY; i++)
		open_ones[i] = -1;
	for (unsigned round = 0; round < rounds; round++) {
		int at = (int)(any() % MANY), pair[2];
		if (open_ones[at] < 0)
			open_ones[at] = reach(path);
		size_t n = any() % 8 == 0 ? any() % sizeof bytes : any() % 40;
		for (size_t k = 0; k < n; k++)
			bytes[k] = any() % 3 ? (uint8_t)(any() % 12) : (uint8_t)any();
		CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
		unsigned count = (unsigned)(any() % 8);
		for (unsigned k = 0; k < count; k++)
			fds[k] = any() % 2 ? pair[any() % 2] : any() % 2 ? file : open_ones[at];
		char space[CMSG_SPACE(sizeof fds)];
		memset(space, 0, sizeof space);
		struct iovec iov = { bytes, n };
		struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
		if (count > 0) {
			m.msg_control = space;
			m.msg_controllen = CMSG_SPACE(count * sizeof(int));
			struct cmsghdr *c = CMSG_FIRSTHDR(&m);
			c->cmsg_level = SOL_SOCKET;
			c->cmsg_type = SCM_RIGHTS;
			c->cmsg_len = CMSG_LEN(count * sizeof(int));
			memcpy(CMSG_DATA(c), fds, count * sizeof(int));
		}
		/* blocking: a daemon that does not read would show here */
		sendmsg(open_ones[at], &m, MSG_NOSIGNAL);
		close(pair[0]);
		close(pair[1]);
		if (any() % 10 == 0 || n == 0) {
			close(open_ones[at]);
			open_ones[at] = -1;
		}
	}
}

/* ---- requests ---- */

static void garbage_requests(unsigned rounds)
{
	static uint8_t body[8192];
	struct nmreq_header h;
	static const char *names[] = { "vale0:x", "vale0:", "vale", "netmap:x", "x{1", "", "vale0:x{", "}", "vale:::",
				       "vale0:xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" };
	for (unsigned i = 0; i < rounds; i++) {
		int fd = open("/dev/netmap", O_RDWR);
		CHECK(fd >= 0);
		for (int k = 0; k < 4; k++) {
			memset(&h, 0, sizeof h);
			if (any() % 4 == 0) {
				for (size_t b = 0; b < sizeof h; b++)
					((uint8_t *)&h)[b] = (uint8_t)any();
			}
			if (any() % 4) {
				h.nr_version = NETMAP_API;
				h.nr_reqtype = (uint16_t)(any() % 17);
				h.nr_options = 0;
				strncpy(h.nr_name, names[any() % (sizeof names / sizeof names[0])], sizeof h.nr_name);
			}
			for (size_t b = 0; b < 256; b++)
				body[b] = any() % 3 ? 0 : (uint8_t)any();
			switch (any() % 4) {
			case 0: h.nr_body = any(); break;
			case 1: h.nr_body = 0; break;
			default: h.nr_body = (uintptr_t)body;
			}
			if (any() % 3 == 0) {
				/* options: a list of nonsense, perhaps with a loop */
				struct nmreq_option *o = (struct nmreq_option *)(body + 1024);
				for (int j = 0; j < 8; j++) {
					o[j].nro_next = any() % 4 ? (uintptr_t)&o[any() % 8] : any() % 2 ? any() : 0;
					o[j].nro_reqtype = (uint32_t)(any() % 8);
					o[j].nro_size = any() % 2 ? any() % 100 : any();
				}
				h.nr_options = (uintptr_t)o;
			}
			ioctl(fd, any() % 8 ? NIOCCTRL : any() % 2 ? NIOCREGIF : NIOCGINFO, any() % 16 ? (void *)&h : (void *)any());
		}
		void *m = mmap(NULL, 4096 * (1 + any() % 100), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			       (off_t)(any() % 4 ? 0 : any() << 12));
		(void)m; /* many maps are small; left to the end of the program */
		if (m != MAP_FAILED)
			munmap(m, 4096);
		ioctl(fd, NIOCTXSYNC, NULL);
		close(fd);
	}
}

static int register_errno(const char *name, struct nmreq_register reg)
{
	int fd = open("/dev/netmap", O_RDWR);
	CHECK(fd >= 0);
	int e = bind_to(fd, name, &reg);
	close(fd);
	return e;
}

/* What is wrong in one point gets the errno that netmap gives. */
static void errors(void)
{
	struct nmreq_register all = { .nr_mode = NR_REG_ALL_NIC }, one = { .nr_mode = NR_REG_ONE_NIC, .nr_ringid = 16 };
	struct nmreq_header h;
	char longest[64];
	int fd = open("/dev/netmap", O_RDWR);

	memset(longest, 'x', sizeof longest);
	memcpy(longest, "vale0:", 6);
	memset(&h, 0, sizeof h);
	h.nr_version = NETMAP_API;
	h.nr_reqtype = NETMAP_REQ_REGISTER;
	h.nr_body = (uintptr_t)&all;
	/* no end of the name within the header */
	memcpy(h.nr_name, longest, sizeof h.nr_name);
	CHECK(ioctl(fd, NIOCCTRL, &h) == -1);
	say("name-without-end errno=%d", errno);
	/* the longest name there is */
	h.nr_name[sizeof h.nr_name - 1] = 0;
	int r = ioctl(fd, NIOCCTRL, &h);
	say("long-name errno=%d", r == 0 ? 0 : errno);
	close(fd);
	fd = open("/dev/netmap", O_RDWR);
	CHECK(ioctl(fd, NIOCCTRL, NULL) == -1);
	say("null errno=%d", errno);
	CHECK(ioctl(fd, NIOCCTRL, (void *)16) == -1 && errno == EFAULT);
	h.nr_body = 0;
	strcpy(h.nr_name, "vale0:x");
	CHECK(ioctl(fd, NIOCCTRL, &h) == -1);
	say("null-body errno=%d", errno);
	CHECK(ioctl(fd, NIOCTXSYNC, NULL) == -1 && errno == ENXIO);
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED);
	say("mmap-unbound errno=%d", errno);
	struct pollfd f = { .fd = fd, .events = POLLIN };
	CHECK(poll(&f, 1, NEVER) == 1 && f.revents == POLLERR);
	CHECK(ioctl(fd, 0x1234, NULL) == -1);
	say("no-such-ioctl errno=%d", errno);
	close(fd);
	say("ring-out-of-range errno=%d", register_errno("vale0:x", one));
	one.nr_ringid = 65535;
	CHECK(register_errno("vale0:x", one) == EINVAL);
	all.nr_mode = 77;
	say("no-such-mode errno=%d", register_errno("vale0:x", all));
	all.nr_mode = NR_REG_ALL_NIC;
	all.nr_mem_id = 4711;
	say("no-such-memory errno=%d", register_errno("vale0:x", all));
	all.nr_mem_id = 0;
	say("no-such-interface errno=%d", register_errno("netmap:nosuchif", all));
	CHECK(register_errno("vale0:x", all) == 0);
}

/* ---- */

int main(int argc, char **argv)
{
	CHECK(argc >= 2);
	const char *what = argv[1];
	if (argc == 5)
		seed(argv[4]);
	say("ready pid=%d", (int)getpid());
	if (strcmp(what, "scribble") == 0 && argc == 5) {
		scribble(argv[2], (unsigned)atoi(argv[3]));
	} else if (strcmp(what, "slots") == 0 && argc == 5) {
		slots(argv[2], (unsigned)atoi(argv[3]));
	} else if (strcmp(what, "fd") == 0 && argc == 3) {
		on_descriptor(argv[2]);
	} else if (strcmp(what, "empty") == 0 && argc == 3) {
		empty_message(argv[2]);
	} else if (strcmp(what, "socket") == 0 && argc == 5) {
		at_socket(argv[2], (unsigned)atoi(argv[3]));
	} else if (strcmp(what, "requests") == 0 && argc == 4) {
		seed(argv[3]);
		garbage_requests((unsigned)atoi(argv[2]));
	} else if (strcmp(what, "errors") == 0) {
		errors();
	} else {
		say("FAILED usage");
		return 2;
	}
	say("done");
	return 0;
}
