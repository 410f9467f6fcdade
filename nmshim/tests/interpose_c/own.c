/* A program with its own close, poll, ... as user-level TCP stacks have. Its own are for its own calls: what the
 * shim needs for itself must not come here. */
#include "fake.h"
#include <dlfcn.h>
#include <stdarg.h>

static _Atomic int landed;
static _Thread_local int mine;
static long raw(long n, long a, long b, long c, long d, long e, long f)
{
	long r; register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11",
		"memory");
	if (r < 0 && r > -4096) { errno = -r; return -1; }
	return r;
}
#define LAND do { if (!mine) landed++; } while (0)
int close(int fd) { LAND; return raw(SYS_close, fd, 0, 0, 0, 0, 0); }
int socket(int a, int b, int c) { LAND; return raw(SYS_socket, a, b, c, 0, 0, 0); }
int connect(int a, const struct sockaddr *b, socklen_t c) { LAND; return raw(SYS_connect, a, (long)b, c, 0, 0, 0); }
ssize_t send(int a, const void *b, size_t c, int d) { LAND; return raw(SYS_sendto, a, (long)b, c, d, 0, 0); }
ssize_t recv(int a, void *b, size_t c, int d) { LAND; return raw(SYS_recvfrom, a, (long)b, c, d, 0, 0); }
ssize_t read(int a, void *b, size_t c) { LAND; return raw(SYS_read, a, (long)b, c, 0, 0, 0); }
ssize_t write(int a, const void *b, size_t c) { LAND; return raw(SYS_write, a, (long)b, c, 0, 0, 0); }
int poll(struct pollfd *a, nfds_t b, int c) { LAND; return raw(SYS_poll, (long)a, b, c, 0, 0, 0); }
int ppoll(struct pollfd *a, nfds_t b, const struct timespec *c, const sigset_t *d) { LAND;
	return raw(SYS_ppoll, (long)a, b, (long)c, (long)d, 8, 0); }
int epoll_wait(int a, struct epoll_event *b, int c, int d) { LAND; return raw(SYS_epoll_wait, a, (long)b, c, d, 0, 0); }
int epoll_pwait(int a, struct epoll_event *b, int c, int d, const sigset_t *e) { LAND;
	return raw(SYS_epoll_pwait, a, (long)b, c, d, (long)e, 8); }
int epoll_ctl(int a, int b, int c, struct epoll_event *d) { LAND; return raw(SYS_epoll_ctl, a, b, c, (long)d, 0, 0); }
void *mmap(void *a, size_t b, int c, int d, int e, off_t f) { LAND;
	return (void *)raw(SYS_mmap, (long)a, b, c, d, e, f); }
int munmap(void *a, size_t b) { LAND; return raw(SYS_munmap, (long)a, b, 0, 0, 0, 0); }
int sched_yield(void) { LAND; return 0; }
long syscall(long n, ...) { LAND; va_list v; va_start(v, n); long a[6];
	for (int i = 0; i < 6; i++) a[i] = va_arg(v, long); va_end(v); return raw(n, a[0], a[1], a[2], a[3], a[4], a[5]); }

static void *next(const char *name) { void *p = dlsym(RTLD_NEXT, name); CHECK(p); return p; }
static int (*shim_poll)(struct pollfd *, nfds_t, int);
static void *mapped(int fd)
{
	void *(*m)(void *, size_t, int, int, int, off_t) = next("mmap");
	return m(NULL, sizeof(struct state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}
static void *push(void *p) { struct later *l = p; while (!l->s->armed) usleep(200); act(l->fd, PUSH, 1); return NULL; }

int main(void)
{
	int (*shim_close)(int) = next("close"), (*shim_wait)(int, struct epoll_event *, int, int) = next("epoll_wait"),
		(*shim_ctl)(int, int, int, struct epoll_event *) = next("epoll_ctl");
	int fd = device(), ep = epoll_create1(0), p[2]; struct epoll_event e = { EPOLLIN, { .u64 = 3 } }; struct later l;
	struct state *s = mapped(fd); CHECK(s != MAP_FAILED); pipe(p); shim_poll = next("poll");
	struct pollfd set[2] = { { fd, POLLIN, 0 }, { p[0], POLLIN, 0 } };
	landed = 0;
	IS(shim_poll(set, 2, 10), 0);
	for (int round = 0; round < 20; round++) {
		l = (struct later){ .fd = fd, .s = s }; pthread_create(&l.t, NULL, push, &l); landed = 0;
		IS(shim_poll(set, 2, -1), 1); IS(landed, 0); pthread_join(l.t, NULL); act(fd, TAKE, 1);
	}
	landed = 0;
	IS(shim_ctl(ep, EPOLL_CTL_ADD, fd, &e), 0); e.events = EPOLLIN; IS(shim_ctl(ep, EPOLL_CTL_ADD, p[0], &e), 0);
	IS(shim_wait(ep, &e, 1, 10), 0); act(fd, PUSH, 1); IS(shim_wait(ep, &e, 1, -1), 1);
	IS(shim_close(fd), 0); int other = device(); IS(shim_close(other), 0);
	IS(landed, 0);
	IS(s->last_closes, 1);
	return failures != 0;
}
