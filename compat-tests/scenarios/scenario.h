/*
 * What the scenarios share. A scenario is a program that uses netmap's public interface and prints what it
 * found as facts, one `key=value` a line. Facts never depend on time, addresses, pids or numbers that the
 * system hands out, so that a run on any target can be compared with a record.
 *
 *   program            runs every case, each in a process of its own
 *   program CASE...    runs these cases
 *   program --list     names the cases
 *   program --open     `open=OK` if the interface can be bound, else why not
 *   program --wait     `waiting`, and stays until its standard input ends: for cases that execute a program
 *   program --about    `for=switch` or `for=interface`, and what it is about
 *
 * A scenario for an interface finds its name in SCENARIO_PORT. A key begins with the name of its case; the
 * case ends with `CASE.END=0`, with the signal that ended it, or with `CASE.END=time limit` when it took longer
 * than COMPAT_DEADLINE seconds.
 */
#ifndef SCENARIO_H
#define SCENARIO_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <net/netmap.h>
#include <net/netmap_user.h>
#include <net/netmap_virt.h>

#define MAYBE_UNUSED __attribute__((unused))
/* Seconds that a case may take where COMPAT_DEADLINE does not say so; only a hang takes them. */
#define CASE_SECONDS 120
/* Milliseconds to wait for what must happen. */
#define LONG_MS 10000

struct scenario_case {
	const char *name;
	void (*run)(void);
};

/* ---- facts ---- */

static const char *current_case = "";

static MAYBE_UNUSED void fact(const char *key, const char *format, ...)
{
	char line[4096];
	int used = snprintf(line, sizeof line, "%s.%s=", current_case, key);
	va_list args;
	va_start(args, format);
	used += vsnprintf(line + used, sizeof line - (size_t)used - 1, format, args);
	va_end(args);
	if (used > (int)sizeof line - 2)
		used = (int)sizeof line - 2;
	line[used++] = '\n';
	/* one write per fact: whole lines, whatever happens next */
	if (write(1, line, (size_t)used) < 0)
		_exit(9);
}

/* The name of an error that netmap or the kernel around it gives. */
static MAYBE_UNUSED const char *error_name(int error)
{
	static char other[32];
	switch (error) {
	case 0: return "OK";
#define NAME(e) case e: return #e
	NAME(EACCES); NAME(EAGAIN); NAME(EBADF); NAME(EBUSY); NAME(EEXIST); NAME(EFAULT); NAME(EINTR); NAME(EINVAL);
	NAME(EIO); NAME(EMFILE); NAME(EMSGSIZE); NAME(ENOBUFS); NAME(ENODEV); NAME(ENOENT); NAME(ENOMEM); NAME(ENOSYS);
	NAME(ENOTTY); NAME(ENXIO); NAME(EOPNOTSUPP); NAME(EPERM); NAME(EPIPE); NAME(ERANGE);
#undef NAME
	}
	snprintf(other, sizeof other, "errno%d", error);
	return other;
}

static MAYBE_UNUSED void fact_error(const char *key, int error)
{
	fact(key, "%s", error_name(error));
}

/* 0 or the errno of a call that answers -1. */
#define ERROR_OF(call) ({ errno = 0; (call) < 0 ? errno : 0; })

/* A case that cannot go on says why and ends. */
#define NEED(condition) do { \
	if (!(condition)) { \
		fact("stopped", "line %d: %s (%s)", __LINE__, #condition, error_name(errno)); \
		_exit(1); \
	} \
} while (0)

/* ---- requests ---- */

static MAYBE_UNUSED int open_device(void)
{
	int fd = open("/dev/netmap", O_RDWR);
	if (fd < 0) {
		fact("stopped", "open: %s", error_name(errno));
		_exit(1);
	}
	return fd;
}

static MAYBE_UNUSED void make_header(struct nmreq_header *header, int type, const char *name, void *body, void *options)
{
	memset(header, 0, sizeof *header);
	header->nr_version = NETMAP_API;
	header->nr_reqtype = (uint16_t)type;
	for (size_t i = 0; i < sizeof header->nr_name && name[i]; i++)
		header->nr_name[i] = name[i];
	header->nr_body = (uintptr_t)body;
	header->nr_options = (uintptr_t)options;
}

/* One request; 0 or an errno. */
static MAYBE_UNUSED int request_with(int fd, int type, const char *name, void *body, void *options)
{
	struct nmreq_header header;
	make_header(&header, type, name, body, options);
	return ERROR_OF(ioctl(fd, NIOCCTRL, &header));
}

static MAYBE_UNUSED int request_on(int fd, int type, const char *name, void *body)
{
	return request_with(fd, type, name, body, NULL);
}

/* The same on a descriptor of its own. */
static MAYBE_UNUSED int request(int type, const char *name, void *body)
{
	int fd = open_device();
	int error = request_on(fd, type, name, body);
	close(fd);
	return error;
}

/* ---- ports ---- */

struct port {
	int fd;
	int error;              /* of REGISTER or mmap; 0: bound and mapped */
	struct nmreq_header header;
	struct nmreq_register reg;
	char *mem;
	struct netmap_if *nifp;
};

static MAYBE_UNUSED int map_port(struct port *port)
{
	char *mem = mmap(NULL, port->reg.nr_memsize, PROT_READ | PROT_WRITE, MAP_SHARED, port->fd, 0);
	if (mem == MAP_FAILED)
		return errno;
	port->mem = mem;
	port->nifp = NETMAP_IF(mem, port->reg.nr_offset);
	return 0;
}

static MAYBE_UNUSED void bind_port(struct port *port, const char *name, void *options)
{
	port->fd = open_device();
	make_header(&port->header, NETMAP_REQ_REGISTER, name, &port->reg, options);
	port->error = ERROR_OF(ioctl(port->fd, NIOCCTRL, &port->header));
	if (!port->error)
		port->error = map_port(port);
}

static MAYBE_UNUSED void close_port(struct port *port)
{
	if (port->mem)
		munmap(port->mem, port->reg.nr_memsize);
	if (port->fd >= 0)
		close(port->fd);
	port->mem = NULL;
	port->nifp = NULL;
	port->fd = -1;
}

/* Where packets follow a close: a request in between, so that this is about the packets. `closing` is about the
 * close. */
static MAYBE_UNUSED void settle(void)
{
	struct nmreq_vale_list list = { 0 };
	request(NETMAP_REQ_VALE_LIST, "", &list);
}

/* OPEN(p, "vale0:a", .nr_flags = NR_EXCLUSIVE): a `struct port p`, bound if p.error is 0. */
#define OPEN(p, name, ...) OPEN_WITH(p, name, NULL, ##__VA_ARGS__)
#define OPEN_WITH(p, name, options, ...) \
	struct port p = { .reg = { .nr_mode = NR_REG_ALL_NIC, ##__VA_ARGS__ } }; \
	bind_port(&p, name, options)
/* The same where the case makes no sense without it. */
#define MUST_OPEN(p, name, ...) \
	OPEN(p, name, ##__VA_ARGS__); \
	if (p.error) { fact("stopped", "line %d: %s: %s", __LINE__, name, error_name(p.error)); _exit(1); }

static MAYBE_UNUSED int txsync(struct port *port) { return ERROR_OF(ioctl(port->fd, NIOCTXSYNC, NULL)); }
static MAYBE_UNUSED int rxsync(struct port *port) { return ERROR_OF(ioctl(port->fd, NIOCRXSYNC, NULL)); }
static MAYBE_UNUSED struct netmap_ring *txring(struct port *port, unsigned i) { return NETMAP_TXRING(port->nifp, i); }
static MAYBE_UNUSED struct netmap_ring *rxring(struct port *port, unsigned i) { return NETMAP_RXRING(port->nifp, i); }

static MAYBE_UNUSED uint32_t next_slot(struct netmap_ring *ring, uint32_t i)
{
	return i + 1 == ring->num_slots ? 0 : i + 1;
}

/* Slots from head to tail. */
static MAYBE_UNUSED uint32_t available(struct netmap_ring *ring)
{
	return ring->tail >= ring->head ? ring->tail - ring->head : ring->tail + ring->num_slots - ring->head;
}

/* head,cur,tail */
static MAYBE_UNUSED void fact_ring(const char *key, struct netmap_ring *ring)
{
	fact(key, "%u,%u,%u", ring->head, ring->cur, ring->tail);
}

/* ---- packets ---- */

static MAYBE_UNUSED const uint8_t mac_a[6] = { 2, 0, 0, 0, 0, 0xa }, mac_b[6] = { 2, 0, 0, 0, 0, 0xb },
	mac_c[6] = { 2, 0, 0, 0, 0, 0xc }, mac_all[6] = { 255, 255, 255, 255, 255, 255 };

/* Puts one packet (or fragment, if `to` is NULL) at the head of a tx ring; `tag` fills what follows the header. */
static MAYBE_UNUSED void put_on(struct netmap_ring *ring, const uint8_t *to, const uint8_t *from, unsigned len, int tag,
	unsigned flags)
{
	struct netmap_slot *slot = &ring->slot[ring->head];
	uint8_t *data = (uint8_t *)NETMAP_BUF(ring, slot->buf_idx);
	memset(data, tag, len > ring->nr_buf_size ? ring->nr_buf_size : len);
	if (to && len >= 14) {
		memcpy(data, to, 6);
		memcpy(data + 6, from, 6);
		data[12] = 0x88;
		data[13] = 0xb5;
	}
	slot->len = (uint16_t)len;
	slot->flags = (uint16_t)flags;
	ring->head = ring->cur = next_slot(ring, ring->head);
}

/* A packet of 60 bytes from a to b on ring 0. */
static MAYBE_UNUSED void put(struct port *port, int tag)
{
	put_on(txring(port, 0), mac_b, mac_a, 60, tag, 0);
}

/* rxsync, then `n slots len/flags/last byte,...` of what is there; nothing is consumed. */
static MAYBE_UNUSED void fact_received(const char *key, struct port *port, unsigned ring_number)
{
	char text[2048];
	int error = rxsync(port), used, shown = 0;
	struct netmap_ring *ring = rxring(port, ring_number);
	uint32_t n = available(ring), i = ring->head;
	if (error) {
		fact_error(key, error);
		return;
	}
	used = snprintf(text, sizeof text, "%u", n);
	for (; n && shown < 12; n--, shown++, i = next_slot(ring, i)) {
		struct netmap_slot *slot = &ring->slot[i];
		uint8_t *data = (uint8_t *)NETMAP_BUF(ring, slot->buf_idx);
		unsigned last = slot->len && slot->len <= ring->nr_buf_size ? data[slot->len - 1] : 0;
		used += snprintf(text + used, sizeof text - (size_t)used, "%s%u/0x%x/%02x", shown ? "," : " ", slot->len,
			slot->flags, last);
	}
	fact(key, "%s", text);
}

/* Takes and gives back everything that a rx ring holds. */
static MAYBE_UNUSED uint32_t drain_ring(struct port *port, unsigned ring_number)
{
	struct netmap_ring *ring = rxring(port, ring_number);
	rxsync(port);
	uint32_t n = available(ring);
	ring->head = ring->cur = ring->tail;
	rxsync(port);
	return n;
}

static MAYBE_UNUSED uint32_t drain(struct port *port) { return drain_ring(port, 0); }

/* ---- waiting ---- */

/* POLLIN|POLLOUT... */
static MAYBE_UNUSED const char *event_names(int events)
{
	static char texts[8][128];
	static unsigned turn;
	char *text = texts[turn++ % 8];
	text[0] = 0;
#define NAME(bit) if (events & bit) { strcat(text, text[0] ? "|" #bit : #bit); events &= ~bit; }
	NAME(POLLIN) NAME(POLLOUT) NAME(POLLERR) NAME(POLLHUP) NAME(POLLNVAL) NAME(POLLPRI) NAME(POLLRDNORM)
	NAME(POLLWRNORM) NAME(POLLRDBAND) NAME(POLLWRBAND) NAME(POLLRDHUP)
#undef NAME
	if (events)
		sprintf(text + strlen(text), "|0x%x", events);
	return text;
}

/* `returned:events`, or the errno. */
static MAYBE_UNUSED const char *poll_result(int fd, int events, int timeout_ms)
{
	static char texts[8][160];
	static unsigned turn;
	char *text = texts[turn++ % 8];
	struct pollfd entry = { .fd = fd, .events = (short)events };
	int n = poll(&entry, 1, timeout_ms);
	if (n < 0)
		snprintf(text, 160, "%s", error_name(errno));
	else
		snprintf(text, 160, "%d:%s", n, event_names(entry.revents));
	return text;
}

/* `returned:` and r, w, x for the sets that the descriptor is in. */
static MAYBE_UNUSED const char *select_result(int fd, int reading, int writing, int timeout_ms)
{
	static char texts[8][64];
	static unsigned turn;
	char *text = texts[turn++ % 8];
	fd_set r, w, x;
	struct timeval timeout = { timeout_ms / 1000, timeout_ms % 1000 * 1000 };
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_ZERO(&x);
	if (reading)
		FD_SET(fd, &r);
	if (writing)
		FD_SET(fd, &w);
	FD_SET(fd, &x);
	int n = select(fd + 1, &r, &w, &x, &timeout);
	if (n < 0)
		snprintf(text, 64, "%s", error_name(errno));
	else
		snprintf(text, 64, "%d:%s%s%s", n, FD_ISSET(fd, &r) ? "r" : "", FD_ISSET(fd, &w) ? "w" : "",
			FD_ISSET(fd, &x) ? "x" : "");
	return text;
}

/* The same by an epoll set made for it. */
static MAYBE_UNUSED const char *epoll_result(int fd, uint32_t events, int timeout_ms)
{
	static char texts[8][160];
	static unsigned turn;
	char *text = texts[turn++ % 8];
	struct epoll_event wanted = { .events = events }, got = { 0 };
	int set = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &wanted) < 0) {
		snprintf(text, 160, "add %s", error_name(errno));
	} else {
		int n = epoll_wait(set, &got, 1, timeout_ms);
		snprintf(text, 160, "%d:%s", n, n > 0 ? event_names((int)got.events) : "");
	}
	close(set);
	return text;
}

/* ---- the program ---- */

/* The interface of a scenario that needs one. */
static MAYBE_UNUSED const char *interface_name(void)
{
	const char *name = getenv("SCENARIO_PORT");
	return name ? name : "";
}

/* The kernel ends this process when a case may take no longer. */
static MAYBE_UNUSED void begin_time_limit(void)
{
	const char *named = getenv("COMPAT_DEADLINE");
	int seconds = named ? atoi(named) : 0;
	alarm(seconds > 0 ? (unsigned)seconds : CASE_SECONDS);
}

static void run_case(const struct scenario_case *one)
{
	char text[64];
	int status = 0;
	pid_t child;
	current_case = one->name;
	child = fork();
	if (child == 0) {
		begin_time_limit();
		one->run();
		_exit(0);
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		snprintf(text, sizeof text, "time limit");
	else if (WIFSIGNALED(status))
		snprintf(text, sizeof text, "signal:%d", WTERMSIG(status));
	else
		snprintf(text, sizeof text, "%d", WEXITSTATUS(status));
	fact("END", "%s", text);
}

static int is_wanted(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			return 1;
	return argc == 1;
}

static int scenario_main(const char *needs, const char *about, const struct scenario_case *cases, size_t n, int argc,
	char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "--about")) {
		printf("for=%s\nabout=%s\n", needs, about);
		return 0;
	}
	if (argc > 1 && !strcmp(argv[1], "--wait")) {
		char x;
		puts("waiting");
		fflush(stdout);
		return read(0, &x, 1) != 0;
	}
	if (argc > 1 && !strcmp(argv[1], "--open")) {
		OPEN(port, interface_name());
		printf("open=%s\n", error_name(port.error));
		return 0;
	}
	for (size_t i = 0; i < n; i++) {
		if (argc > 1 && !strcmp(argv[1], "--list"))
			puts(cases[i].name);
		else if (is_wanted(cases[i].name, argc, argv))
			run_case(&cases[i]);
	}
	return 0;
}

#define SCENARIO(needs, about, ...) \
	int main(int argc, char **argv) \
	{ \
		static const struct scenario_case cases[] = { __VA_ARGS__ }; \
		signal(SIGPIPE, SIG_IGN); \
		return scenario_main(needs, about, cases, sizeof cases / sizeof *cases, argc, argv); \
	}

#endif
