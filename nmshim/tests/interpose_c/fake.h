/* The test device (tests/interpose_fake): its page, its ioctls, and a few words for checks. */
#ifndef FAKE_H
#define FAKE_H
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct state {
	_Atomic uint32_t rx, room, bound, gone;
	_Atomic uint64_t edges;
	_Atomic uint32_t armed, polls, arms, disarms, drains, spins, last_closes, spin_finds, forks, flags, arm_finds;
};
#define BIND 0x4601
#define PUSH 0x4602
#define TAKE 0x4603
#define ROOM 0x4604
#define GONE 0x4605
#define TOKEN 0x4606
#define PANIC 0x4607
#define FORKED 0x4608
#define HANG_UP 0x4609
#define INTERFACES 0x460a
#define COUNTED 0x460b
#define SHORT 0x6901
#define WITH_LO 0x1000

static int failures;
#define CHECK(x) do { if (!(x)) { failures++; \
	fprintf(stderr, "%s:%d: %s: not so (errno %d)\n", __FILE__, __LINE__, #x, errno); } } while (0)
/* an expression's value; both are printed when they differ */
#define IS(x, want) do { long x_ = (long)(x), w_ = (long)(want); if (x_ != w_) { failures++; \
	fprintf(stderr, "%s:%d: %s is %ld, not %ld (errno %d)\n", __FILE__, __LINE__, #x, x_, w_, errno); } } while (0)
/* fails with an errno */
#define FAILS(x, e) do { errno = 0; long r_ = (long)(x); if (r_ != -1 || errno != (e)) { failures++; \
	fprintf(stderr, "%s:%d: %s gave %ld errno %d, not errno %d\n", __FILE__, __LINE__, #x, r_, errno, (int)(e)); \
	} } while (0)

static inline int unbound(int flags)
{
	int fd = open("/dev/netmap", flags);
	if (fd < 0) { perror("open /dev/netmap"); exit(1); }
	return fd;
}
static inline int device(void) { int fd = unbound(O_RDWR); ioctl(fd, BIND, 0); return fd; }
static inline struct state *page(int fd)
{
	struct state *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (s == MAP_FAILED) { perror("mmap"); exit(1); }
	return s;
}
static inline long act(int fd, unsigned long what, long n) { return ioctl(fd, what, n); }
static inline int poll1(int fd, int events, int ms)
{
	struct pollfd p = { .fd = fd, .events = events };
	int n = poll(&p, 1, ms);
	return n < 0 ? -errno : n == 0 ? 0 : p.revents;
}

static inline int watch(int ep, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event e = { .events = events, .data.u64 = data };
	return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}
static inline int rewatch(int ep, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event e = { .events = events, .data.u64 = data };
	return epoll_ctl(ep, EPOLL_CTL_MOD, fd, &e);
}
/* a thread that acts on fd once another thread is armed on it */
struct later { int fd; unsigned long what; long n; struct state *s; pthread_t t; };
static inline void *later_(void *p)
{
	struct later *l = p;
	while (!l->s->armed) usleep(200);
	usleep(5000);
	act(l->fd, l->what, l->n);
	return NULL;
}
static inline void later(struct later *l, int fd, struct state *s, unsigned long what, long n)
{
	*l = (struct later){ .fd = fd, .what = what, .n = n, .s = s };
	pthread_create(&l->t, NULL, later_, l);
}
static inline void done(struct later *l) { pthread_join(l->t, NULL); }
#endif
