/*
 * What the robustness test programs share: binding a port through the public netmap API, packets that say who
 * sent them and in which order, and checks that end the program with a sentence.
 *
 * A packet is an Ethernet header (destination 02:00:00:00:00:DD or broadcast, source 02:00:00:00:00:SS) and a
 * `struct label`, followed by bytes that both sides can compute from the label.
 */
#ifndef ROBUST_H
#define ROBUST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
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
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <net/netmap.h>
#include <net/netmap_user.h>

#include "../cases.h"

#define UNUSED __attribute__((unused))
#define MAGIC 0x6f627573u
#define HEADER 14
/* Shortest packet that has room for the label. */
#define SHORTEST 64
#define MAX_SENDERS 256
#define NEVER (-1)

static UNUSED void say(const char *format, ...)
{
	char line[512];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(line, sizeof line - 1, format, args);
	va_end(args);
	if (n > (int)sizeof line - 2)
		n = (int)sizeof line - 2;
	line[n++] = '\n';
	/* whole lines, also from several processes at once and past stdio's buffers */
	if (write(1, line, (size_t)n) < 0)
		_exit(9);
}

static UNUSED void fail(const char *file, int line, const char *what)
{
	say("FAILED %s:%d: %s (errno %d: %s)", file, line, what, errno, strerror(errno));
	_exit(1);
}

#define CHECK(condition) do { if (!(condition)) fail(__FILE__, __LINE__, #condition); } while (0)

static UNUSED volatile sig_atomic_t stopped;

static UNUSED void on_alarm(int signal)
{
	(void)signal;
}

/* The signal may come just before a call that blocks, whatever the device: it comes again then. */
static UNUSED void on_term(int signal)
{
	struct itimerval again = { .it_interval.tv_usec = 20000, .it_value.tv_usec = 20000 };

	(void)signal;
	stopped = 1;
	setitimer(ITIMER_REAL, &again, NULL);
}

/* SIGTERM interrupts what blocks, and sets `stopped`. */
static UNUSED void stop_on_term(void)
{
	struct sigaction action = { .sa_handler = on_term }, alarm_action = { .sa_handler = on_alarm };

	sigaction(SIGALRM, &alarm_action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

/* An open and bound /dev/netmap. */
struct port {
	int fd;
	char *mem;
	size_t size;
	struct netmap_if *nif;
	struct nmreq_register reg;
};

/* REGISTER; `reg` is what is wanted and becomes what was got. 0 or an errno. */
static UNUSED int bind_to(int fd, const char *name, struct nmreq_register *reg)
{
	struct nmreq_header header;
	memset(&header, 0, sizeof header);
	header.nr_version = NETMAP_API;
	header.nr_reqtype = NETMAP_REQ_REGISTER;
	strncpy(header.nr_name, name, sizeof header.nr_name - 1);
	header.nr_body = (uintptr_t)reg;
	return ioctl(fd, NIOCCTRL, &header) == 0 ? 0 : errno;
}

/* Maps what `fd` is bound to. 0 or an errno. */
static UNUSED int map_port(struct port *p)
{
	p->size = p->reg.nr_memsize;
	p->mem = mmap(NULL, p->size, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, 0);
	if (p->mem == MAP_FAILED)
		return errno;
	p->nif = NETMAP_IF(p->mem, p->reg.nr_offset);
	return 0;
}

/* Opens, binds and maps with the wishes in `p->reg`. 0 or an errno; nothing is left open then. */
static UNUSED int try_port(struct port *p, const char *name, int open_flags)
{
	if (p->reg.nr_mode == 0)
		p->reg.nr_mode = NR_REG_ALL_NIC;
	p->fd = open("/dev/netmap", O_RDWR | open_flags);
	if (p->fd < 0)
		return errno;
	int e = bind_to(p->fd, name, &p->reg);
	if (e == 0)
		e = map_port(p);
	if (e != 0)
		close(p->fd);
	return e;
}

/* The same with plain wishes; failure ends the program. */
static UNUSED struct port open_port(const char *name)
{
	struct port p;
	memset(&p, 0, sizeof p);
	errno = try_port(&p, name, 0);
	if (errno != 0) {
		say("FAILED cannot open %s: errno %d: %s", name, errno, strerror(errno));
		_exit(1);
	}
	return p;
}

static UNUSED void close_port(struct port *p)
{
	munmap(p->mem, p->size);
	close(p->fd);
	p->fd = -1;
}

static UNUSED struct netmap_ring *tx_ring(struct port *p, unsigned i)
{
	return NETMAP_TXRING(p->nif, i);
}

static UNUSED struct netmap_ring *rx_ring(struct port *p, unsigned i)
{
	return NETMAP_RXRING(p->nif, i);
}

static UNUSED unsigned ring_space(const struct netmap_ring *r)
{
	unsigned head = r->head, tail = r->tail;
	return tail >= head ? tail - head : tail + r->num_slots - head;
}

/* Behind the Ethernet header. */
struct label {
	uint32_t magic;
	uint32_t sender;
	uint64_t seq;
	uint32_t length;
	uint32_t seed;
} __attribute__((packed));

static UNUSED uint8_t pattern(uint32_t seed, size_t i)
{
	uint32_t x = seed + (uint32_t)i * 2654435761u;
	return (uint8_t)(x >> 24);
}

/* Writes a whole packet of `length` bytes. `dest` 0xff: broadcast. */
static UNUSED void write_packet(uint8_t *to, size_t length, unsigned dest, unsigned sender, uint64_t seq)
{
	struct label label = { MAGIC, sender, seq, (uint32_t)length, (uint32_t)(seq * 40503u + sender) };
	memset(to, dest == 0xff ? 0xff : 0, 6);
	if (dest != 0xff) {
		to[0] = 2;
		to[5] = (uint8_t)dest;
	}
	memset(to + 6, 0, 6);
	to[6] = 2;
	to[11] = (uint8_t)sender;
	to[12] = 0x88;
	to[13] = 0xb5;
	memcpy(to + HEADER, &label, sizeof label);
	for (size_t i = HEADER + sizeof label; i < length; i++)
		to[i] = pattern(label.seed, i);
}

/* What a receiver knows about each sender. */
struct seen {
	uint64_t packets;
	uint64_t lost;
	uint64_t next[MAX_SENDERS];
	uint8_t known[MAX_SENDERS];
};

/* Checks a whole packet; any damage and any packet out of order ends the program. */
static UNUSED void check_packet(struct seen *seen, const uint8_t *at, size_t length, int gapless)
{
	struct label label;
	if (length < HEADER + sizeof label) {
		say("FAILED a packet of %zu bytes", length);
		_exit(1);
	}
	memcpy(&label, at + HEADER, sizeof label);
	if (label.magic != MAGIC)
		return; /* somebody else's */
	if (label.length != length || label.sender >= MAX_SENDERS) {
		say("FAILED sender %u seq %llu: %zu bytes arrived, %u were sent", label.sender,
		    (unsigned long long)label.seq, length, label.length);
		_exit(1);
	}
	for (size_t i = HEADER + sizeof label; i < length; i++) {
		if (at[i] != pattern(label.seed, i)) {
			say("FAILED sender %u seq %llu: byte %zu of %zu is damaged", label.sender,
			    (unsigned long long)label.seq, i, length);
			_exit(1);
		}
	}
	uint64_t wanted = seen->next[label.sender];
	if (seen->known[label.sender] && (label.seq < wanted || (gapless && label.seq != wanted))) {
		say("FAILED sender %u: seq %llu arrived where %llu was expected", label.sender,
		    (unsigned long long)label.seq, (unsigned long long)wanted);
		_exit(1);
	}
	if (seen->known[label.sender])
		seen->lost += label.seq - wanted;
	else if (gapless == 1 && label.seq != 0) {
		say("FAILED sender %u: the first packet is seq %llu", label.sender, (unsigned long long)label.seq);
		_exit(1);
	}
	seen->known[label.sender] = 1;
	seen->next[label.sender] = label.seq + 1;
	seen->packets++;
}

static UNUSED int cur_is_head;

/* Fills `ring` with up to `most` packets of `frags` slots each. Returns how many. */
static UNUSED unsigned fill_ring(struct netmap_ring *ring, unsigned most, size_t length, unsigned frags, unsigned dest,
				 unsigned sender, uint64_t *seq)
{
	static __thread uint8_t packet[65536];
	unsigned n = 0, head = ring->head;
	unsigned space = ring_space(ring);
	while (n < most && space >= frags) {
		write_packet(packet, length, dest, sender, *seq);
		size_t done = 0, part = (length + frags - 1) / frags;
		for (unsigned f = 0; f < frags; f++) {
			struct netmap_slot *slot = &ring->slot[head];
			size_t bytes = length - done < part ? length - done : part;
			memcpy(NETMAP_BUF(ring, slot->buf_idx), packet + done, bytes);
			slot->len = (uint16_t)bytes;
			slot->flags = f + 1 < frags ? NS_MOREFRAG : 0;
			done += bytes;
			head = nm_ring_next(ring, head);
		}
		space -= frags;
		(*seq)++;
		n++;
	}
	ring->head = head;
	/* what is left is too little for a packet: no news until there is more. A program that leaves cur at head,
	 * as many do, hears of it again and again */
	ring->cur = space < frags && !cur_is_head ? ring->tail : head;
	return n;
}

/* Takes up to `most` packets out of `ring` and checks them. Returns how many. */
static UNUSED unsigned empty_ring(struct netmap_ring *ring, unsigned most, struct seen *seen, int gapless)
{
	static __thread uint8_t packet[65536];
	unsigned n = 0, head = ring->head, tail = ring->tail, at = head;
	size_t length = 0;
	while (n < most && at != tail) {
		struct netmap_slot *slot = &ring->slot[at];
		CHECK(slot->len <= ring->nr_buf_size && length + slot->len <= sizeof packet);
		memcpy(packet + length, NETMAP_BUF(ring, slot->buf_idx), slot->len);
		length += slot->len;
		at = nm_ring_next(ring, at);
		if (slot->flags & NS_MOREFRAG)
			continue;
		check_packet(seen, packet, length, gapless);
		length = 0;
		head = at;
		n++;
	}
	CHECK(length == 0 || n == most || at == tail);
	if (length != 0 && at == tail) {
		say("FAILED a chain without its end arrived");
		_exit(1);
	}
	ring->head = ring->cur = head;
	return n;
}

static UNUSED uint64_t milliseconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Sends one packet and syncs. */
static UNUSED void send_one(struct port *p, unsigned dest, unsigned sender, uint64_t *seq)
{
	CHECK(fill_ring(tx_ring(p, 0), 1, SHORTEST, 1, dest, sender, seq) == 1);
	CHECK(ioctl(p->fd, NIOCTXSYNC, NULL) == 0);
}

/* Syncs and takes what is there. */
static UNUSED unsigned take_now(struct port *p, struct seen *seen)
{
	CHECK(ioctl(p->fd, NIOCRXSYNC, NULL) == 0);
	return empty_ring(rx_ring(p, 0), ~0u, seen, 0);
}

/* Does a packet sent from `from` arrive at `to` at once, as netmap's sync promises? */
static UNUSED void check_path(struct port *from, struct port *to, unsigned sender, uint64_t *seq, struct seen *seen)
{
	take_now(to, seen);
	uint64_t before = seen->packets;
	send_one(from, 0xff, sender, seq);
	take_now(to, seen);
	CHECK(seen->packets == before + 1);
}

static UNUSED void wait_child(pid_t pid)
{
	int status;
	CHECK(waitpid(pid, &status, 0) == pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		say("FAILED child %d ended with status 0x%x", (int)pid, (unsigned)status);
		_exit(1);
	}
}

/* Is nobody bound to `name`? Exclusive use is refused as long as somebody is. */
static UNUSED int is_free(const char *name)
{
	struct port p;
	memset(&p, 0, sizeof p);
	p.reg.nr_flags = NR_EXCLUSIVE;
	int e = try_port(&p, name, 0);
	if (e == 0)
		close_port(&p);
	else
		CHECK(e == EBUSY);
	return e == 0;
}

static UNUSED short poll_now(int fd, short events, int timeout)
{
	struct pollfd f = { .fd = fd, .events = events };
	int r = poll(&f, 1, timeout);
	CHECK(r >= 0);
	return r == 0 ? 0 : f.revents;
}

/* A part of a program that runs in a process of its own after exec, with a descriptor. */
struct test_part {
	const char *name;
	void (*run)(int fd);
};

/* Becomes `PROGRAM what fd`. */
static UNUSED void run_self(const char *what, int fd)
{
	char number[16];
	snprintf(number, sizeof number, "%d", fd);
	execl("/proc/self/exe", "self", what, number, (char *)NULL);
	_exit(127);
}

/* Was the program started by `run_self`? Runs that part then. */
static UNUSED int run_part(int argc, char **argv, const struct test_part *parts, size_t n)
{
	for (size_t i = 0; argc == 3 && i < n; i++) {
		if (strcmp(parts[i].name, argv[1]) == 0) {
			parts[i].run(atoi(argv[2]));
			return 1;
		}
	}
	return 0;
}

#endif
