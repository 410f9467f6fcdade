/* Waiting on devices, alone and beside ordinary descriptors: sections of the interposition test. */
#include "fake.h"

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
static void quiet(int sig) { (void)sig; }
static void on_alarm(void (*f)(int)) { struct sigaction a = { .sa_handler = f }; sigaction(SIGALRM, &a, NULL); }

static void polling(void)
{
	int fd = device(), p[2]; struct state *s = page(fd); struct later l; double t; pipe(p);
	IS(poll1(fd, POLLIN | POLLOUT, 0), 0); act(fd, ROOM, 3);
	IS(poll1(fd, POLLIN | POLLOUT, 0), POLLOUT); IS(poll1(fd, POLLWRNORM | POLLRDNORM, -1), POLLWRNORM);
	IS(poll1(fd, 0, 0), 0); act(fd, ROOM, 0);
	t = now(); IS(poll1(fd, POLLIN, 30), 0); CHECK(now() - t >= 0.030); IS(s->armed, 0); IS(s->arms, s->disarms);
	CHECK(s->spins > 0);
	later(&l, fd, s, PUSH, 1); IS(poll1(fd, POLLIN, -1), POLLIN); done(&l); IS(s->armed, 0); act(fd, TAKE, 1);
	/* a stale token wakes nobody up for good */
	act(fd, TOKEN, 0); t = now(); IS(poll1(fd, POLLIN, 30), 0); CHECK(now() - t >= 0.030); uint32_t arms = s->arms;
	IS(poll1(fd, POLLIN, 30), 0); IS(s->arms - arms, 1);
	/* mixed */
	uint32_t spins = s->spins;
	struct pollfd set[4] = { { p[0], POLLIN, 99 }, { fd, POLLIN, 99 }, { -1, POLLIN, 99 }, { p[1], POLLOUT, 99 } };
	IS(poll(set, 3, 10), 0); IS(set[0].revents | set[1].revents | set[2].revents, 0); IS(s->spins, spins);
	IS(poll(set, 4, -1), 1); IS(set[3].revents, POLLOUT);
	act(fd, PUSH, 1); IS(poll(set, 4, -1), 2); IS(set[1].revents, POLLIN); IS(set[3].revents, POLLOUT);
	write(p[1], "x", 1); IS(poll(set, 3, 0), 2); act(fd, TAKE, 1); IS(poll(set, 3, -1), 1); IS(set[0].revents, POLLIN);
	char c; read(p[0], &c, 1); later(&l, fd, s, PUSH, 1); IS(poll(set, 3, -1), 1); IS(set[1].revents, POLLIN);
	done(&l); act(fd, TAKE, 1);
	set[0].fd = 999; IS(poll(set, 2, -1), 1); IS(set[0].revents, POLLNVAL);
	/* many: beyond what fits on the stack */
	struct pollfd many[200]; for (int i = 0; i < 200; i++) many[i] = (struct pollfd){ i % 2 ? p[0] : fd, POLLIN, 0 };
	IS(poll(many, 200, 5), 0); later(&l, fd, s, PUSH, 1); IS(poll(many, 200, -1), 100); done(&l); act(fd, TAKE, 1);
	IS(s->armed, 0);
	/* spinning finds something */
	s->spin_finds = 1; arms = s->arms; IS(poll1(fd, POLLIN, -1), POLLIN); IS(s->arms, arms); s->spin_finds = 0;
	act(fd, TAKE, s->rx);
	/* what came in between looking and arming is not slept over; the alarm is for when it is */
	struct epoll_event ev; int ep = epoll_create1(0); fd_set r; FD_ZERO(&r); FD_SET(fd, &r);
	watch(ep, fd, EPOLLIN, 1); s->arm_finds = 1; alarm(20);
	IS(poll1(fd, POLLIN, -1), POLLIN); act(fd, TAKE, s->rx); IS(epoll_wait(ep, &ev, 1, -1), 1); act(fd, TAKE, s->rx);
	IS(select(fd + 1, &r, NULL, NULL, NULL), 1); act(fd, TAKE, s->rx); s->arm_finds = 0; alarm(0);
	/* the daemon is gone while we sleep, and after */
	int g = device(); struct state *gs = page(g); later(&l, g, gs, GONE, 0);
	IS(poll1(g, POLLIN, -1), POLLERR | POLLHUP); done(&l); IS(poll1(g, POLLIN, -1), POLLERR | POLLHUP);
	g = device(); gs = page(g); later(&l, g, gs, HANG_UP, 0); IS(poll1(g, POLLIN, -1), POLLERR | POLLHUP); done(&l);
	int u = unbound(O_RDWR); IS(poll1(u, POLLIN, -1), POLLERR);
}
static volatile int handled;
static void count(int sig) { (void)sig; handled++; }
static void signals(void)
{
	int fd = device(); struct state *s = page(fd); sigset_t none, alrm; struct pollfd p = { fd, POLLIN, 0 };
	struct itimerval soon = { .it_value.tv_usec = 20000 }; struct timespec z = { 0, 0 }, second = { 5, 0 };
	struct epoll_event e;
	on_alarm(count); sigemptyset(&none); sigemptyset(&alrm); sigaddset(&alrm, SIGALRM);
	setitimer(ITIMER_REAL, &soon, NULL); FAILS(poll(&p, 1, 5000), EINTR); IS(handled, 1); IS(s->armed, 0);
	/* blocked outside, let in by the call's mask alone */
	sigprocmask(SIG_BLOCK, &alrm, NULL); raise(SIGALRM); IS(handled, 1);
	FAILS(ppoll(&p, 1, &second, &none), EINTR); IS(handled, 2);
	raise(SIGALRM); IS(poll(&p, 1, 10), 0); IS(handled, 2); FAILS(ppoll(&p, 1, &z, &none), EINTR); IS(handled, 3);
	fd_set r; raise(SIGALRM); FD_ZERO(&r); FD_SET(fd, &r);
	FAILS(pselect(fd + 1, &r, NULL, NULL, &second, &none), EINTR); IS(handled, 4); CHECK(FD_ISSET(fd, &r));
	int ep = epoll_create1(0); IS(watch(ep, fd, EPOLLIN, 1), 0); raise(SIGALRM); IS(epoll_wait(ep, &e, 1, 10), 0);
	IS(handled, 4);
	FAILS(epoll_pwait(ep, &e, 1, 5000, &none), EINTR); IS(handled, 5);
	raise(SIGALRM); FAILS(epoll_pwait2(ep, &e, 1, &second, &none), EINTR); IS(handled, 6); raise(SIGALRM);
	IS(epoll_pwait(ep, &e, 1, 0, &none), 0); IS(handled, 6);
	/* data wins over a signal */
	raise(SIGALRM); act(fd, PUSH, 1); IS(ppoll(&p, 1, &second, &none), 1); IS(s->armed, 0); IS(s->arms, s->disarms);
}
static int sel(int n, int fd, int rd, int wr, int ms, fd_set *r, fd_set *w)
{
	struct timeval tv = { 0, ms * 1000 }; fd_set x; FD_ZERO(r); FD_ZERO(w); FD_ZERO(&x);
	if (rd) FD_SET(fd, r);
	if (wr) FD_SET(fd, w);
	FD_SET(fd, &x);
	return select(n, r, w, &x, ms < 0 ? NULL : &tv);
}
static void selecting(void)
{
	int fd = device(), p[2]; struct state *s = page(fd); fd_set r, w; struct later l; pipe(p);
	IS(sel(fd + 1, fd, 1, 0, 0, &r, &w), 0); CHECK(!FD_ISSET(fd, &r)); act(fd, ROOM, 1);
	IS(sel(fd + 1, fd, 1, 1, 20, &r, &w), 1); CHECK(FD_ISSET(fd, &w) && !FD_ISSET(fd, &r)); act(fd, PUSH, 1);
	IS(sel(fd + 1, fd, 1, 1, -1, &r, &w), 2); act(fd, ROOM, 0); act(fd, TAKE, 1);
	later(&l, fd, s, PUSH, 1); IS(sel(fd + 1, fd, 1, 0, -1, &r, &w), 1); CHECK(FD_ISSET(fd, &r)); done(&l);
	act(fd, TAKE, 1);
	/* what is left of the time */
	struct timeval tv = { 5, 0 }; FD_ZERO(&r); FD_SET(fd, &r); later(&l, fd, s, PUSH, 1);
	IS(select(fd + 1, &r, NULL, NULL, &tv), 1); done(&l); CHECK(tv.tv_sec == 4 && tv.tv_usec > 0); act(fd, TAKE, 1);
	tv = (struct timeval){ 0, 15000 }; FD_ZERO(&r); FD_SET(fd, &r); IS(select(fd + 1, &r, NULL, NULL, &tv), 0);
	CHECK(tv.tv_sec == 0 && tv.tv_usec == 0 && !FD_ISSET(fd, &r));
	/* mixed, an ordinary one ready; a closed one; a device's bit beyond n is not looked at */
	write(p[1], "x", 1); FD_ZERO(&r); FD_SET(fd, &r); FD_SET(p[0], &r);
	IS(select(FD_SETSIZE, &r, NULL, NULL, NULL), 1); CHECK(FD_ISSET(p[0], &r) && !FD_ISSET(fd, &r));
	FD_ZERO(&r); FD_SET(fd, &r); FD_SET(999, &r); FAILS(select(1000, &r, NULL, NULL, NULL), EBADF);
	CHECK(FD_ISSET(fd, &r) && FD_ISSET(999, &r));
	int hi = fcntl(fd, F_DUPFD, 400); FD_ZERO(&r); FD_SET(hi, &r); FD_SET(p[0], &r); act(fd, PUSH, 1);
	IS(select(p[0] + 1, &r, NULL, NULL, NULL), 1); FD_ZERO(&r); FD_SET(hi, &r);
	IS(select(hi + 1, &r, NULL, NULL, NULL), 1);
	tv = (struct timeval){ -1, 0 }; FAILS(select(hi + 1, &r, NULL, NULL, &tv), EINVAL);
	int u = unbound(O_RDWR); IS(sel(u + 1, u, 1, 1, -1, &r, &w), 2);
	IS(s->armed, 0);
}
static void levels(void)
{
	int fd = device(), ep = epoll_create1(0), p[2]; struct state *s = page(fd); struct epoll_event e[8];
	struct later l; pipe(p);
	IS(watch(ep, fd, EPOLLIN, 0xdeadbeef12345678), 0); FAILS(watch(ep, fd, EPOLLIN, 0), EEXIST);
	IS(epoll_wait(ep, e, 8, 0), 0); IS(epoll_wait(ep, e, 8, 10), 0); act(fd, PUSH, 1);
	IS(epoll_wait(ep, e, 8, -1), 1); IS(e[0].events, EPOLLIN); CHECK(e[0].data.u64 == 0xdeadbeef12345678);
	IS(epoll_wait(ep, e, 8, 0), 1); act(fd, TAKE, 1); IS(epoll_wait(ep, e, 8, 0), 0);
	later(&l, fd, s, PUSH, 1); IS(epoll_wait(ep, e, 8, -1), 1); done(&l); IS(s->armed, 0); act(fd, TAKE, 1);
	IS(rewatch(ep, fd, EPOLLOUT, 7), 0); act(fd, ROOM, 1); IS(epoll_wait(ep, e, 8, -1), 1); IS(e[0].events, EPOLLOUT);
	IS(e[0].data.u64, 7); act(fd, ROOM, 0);
	/* ONESHOT */
	IS(rewatch(ep, fd, EPOLLIN | EPOLLONESHOT, 8), 0); act(fd, PUSH, 1); IS(epoll_wait(ep, e, 8, -1), 1);
	IS(epoll_wait(ep, e, 8, 0), 0); act(fd, TOKEN, 0); IS(epoll_wait(ep, e, 8, 10), 0);
	IS(rewatch(ep, fd, EPOLLIN | EPOLLONESHOT, 9), 0); IS(epoll_wait(ep, e, 8, -1), 1); IS(e[0].data.u64, 9);
	act(fd, TAKE, 1);
	/* mixed, and one event at a time */
	IS(rewatch(ep, fd, EPOLLIN, 1), 0); IS(watch(ep, p[0], EPOLLIN, 2), 0); IS(epoll_wait(ep, e, 8, 0), 0);
	write(p[1], "x", 1); IS(epoll_wait(ep, e, 8, -1), 1); IS(e[0].data.u64, 2);
	act(fd, PUSH, 1); IS(epoll_wait(ep, e, 8, -1), 2); IS(e[0].data.u64 + e[1].data.u64, 3);
	int seen = 0; for (int i = 0; i < 4; i++) { IS(epoll_wait(ep, e, 1, -1), 1); seen |= 1 << e[0].data.u64; } IS(seen, 6);
	char c; read(p[0], &c, 1); act(fd, TAKE, 1); later(&l, fd, s, PUSH, 1); IS(epoll_wait(ep, e, 8, -1), 1);
	IS(e[0].data.u64, 1); done(&l); act(fd, TAKE, 1);
	/* a token in the way of an ordinary event */
	act(fd, TOKEN, 0); write(p[1], "x", 1); IS(epoll_wait(ep, e, 1, 0), 1); IS(e[0].data.u64, 2); read(p[0], &c, 1);
	act(fd, TOKEN, 0); double t = now(); IS(epoll_wait(ep, e, 1, 30), 0); CHECK(now() - t >= 0.030);
	struct timespec ts = { 0, 200000 }; t = now(); IS(epoll_pwait2(ep, e, 8, &ts, NULL), 0); CHECK(now() - t >= 0.0002);
	/* the set among other descriptors */
	IS(poll1(ep, POLLIN, 0), 0); act(fd, PUSH, 1); IS(poll1(ep, POLLIN, -1), POLLIN); act(fd, TAKE, 1);
	IS(poll1(ep, POLLIN, 5), 0); later(&l, fd, s, PUSH, 1); IS(poll1(ep, POLLIN, -1), POLLIN); done(&l); act(fd, TAKE, 1);
	write(p[1], "x", 1); IS(poll1(ep, POLLIN, -1), POLLIN); read(p[0], &c, 1); act(fd, TOKEN, 0);
	IS(poll1(ep, POLLIN, 10), 0);
	fd_set r; FD_ZERO(&r); FD_SET(ep, &r); later(&l, fd, s, PUSH, 1); IS(select(ep + 1, &r, NULL, NULL, NULL), 1);
	done(&l); CHECK(FD_ISSET(ep, &r)); act(fd, TAKE, 1);
	/* errors */
	FAILS(epoll_wait(ep, e, 0, 0), EINVAL); FAILS(epoll_ctl(ep, EPOLL_CTL_MOD, fd, NULL), EFAULT);
	FAILS(epoll_ctl(fd, EPOLL_CTL_ADD, p[0], e), EINVAL); FAILS(epoll_ctl(p[0], EPOLL_CTL_ADD, fd, e), EINVAL);
	FAILS(epoll_ctl(999, EPOLL_CTL_ADD, fd, e), EBADF); IS(epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL), 0);
	FAILS(epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL), ENOENT); FAILS(rewatch(ep, fd, EPOLLIN, 1), ENOENT);
	act(fd, PUSH, 1); IS(epoll_wait(ep, e, 8, 5), 0); act(fd, TAKE, 1);
	/* a description ends, and its number comes back */
	IS(watch(ep, fd, EPOLLIN, 1), 0); int d = dup(fd); close(fd); act(d, PUSH, 1); IS(epoll_wait(ep, e, 8, 0), 1);
	act(d, TAKE, 1); later(&l, d, s, PUSH, 1); IS(epoll_wait(ep, e, 8, -1), 1); done(&l); close(d);
	IS(epoll_wait(ep, e, 8, 0), 0); d = device(); act(d, PUSH, 1); IS(watch(ep, d, EPOLLIN, 33), 0);
	IS(epoll_wait(ep, e, 8, 0), 1); IS(e[0].data.u64, 33);
	/* the daemon goes */
	act(d, TAKE, 1); s = page(d); later(&l, d, s, GONE, 0); IS(epoll_wait(ep, e, 8, -1), 1);
	IS(e[0].events, EPOLLERR | EPOLLHUP); done(&l);
	d = device(); s = page(d); ep = epoll_create(1); watch(ep, d, EPOLLIN, 4); later(&l, d, s, HANG_UP, 0);
	IS(epoll_wait(ep, e, 8, -1), 1); IS(e[0].events, EPOLLERR | EPOLLHUP); done(&l);
	IS(epoll_ctl(ep, EPOLL_CTL_DEL, d, NULL), 0); IS(epoll_wait(ep, e, 8, 5), 0);
	d = unbound(O_RDWR); IS(watch(ep, d, EPOLLIN, 4), 0); IS(epoll_wait(ep, e, 8, -1), 1); IS(e[0].events, EPOLLERR);
}
static void edges(void)
{
	int fd = device(), ep = epoll_create1(0), ev = eventfd(0, 0); struct state *s = page(fd); struct epoll_event e[4];
	struct later l;
	act(fd, PUSH, 1); watch(ep, fd, EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, 1); IS(epoll_wait(ep, e, 4, 300), 1);
	IS(e[0].events, EPOLLIN); IS(epoll_wait(ep, e, 4, 10), 0); act(fd, PUSH, 1); IS(epoll_wait(ep, e, 4, 300), 1);
	IS(epoll_wait(ep, e, 4, 0), 0);
	/* not consumed, and something new while asleep */
	later(&l, fd, s, PUSH, 1); IS(epoll_wait(ep, e, 4, -1), 1); done(&l); IS(epoll_wait(ep, e, 4, 5), 0);
	rewatch(ep, fd, EPOLLIN | EPOLLET, 2); IS(epoll_wait(ep, e, 4, 0), 1); IS(e[0].data.u64, 2);
	IS(epoll_wait(ep, e, 4, 0), 0);
	/* an ordinary edge beside it */
	watch(ep, ev, EPOLLIN | EPOLLET, 3); eventfd_write(ev, 1); IS(epoll_wait(ep, e, 4, -1), 1); IS(e[0].data.u64, 3);
	IS(epoll_wait(ep, e, 4, 5), 0);
	act(fd, TOKEN, 0); eventfd_write(ev, 1); IS(epoll_wait(ep, e, 1, -1), 1); IS(e[0].data.u64, 3);
	rewatch(ep, fd, EPOLLIN | EPOLLET | EPOLLONESHOT, 4); IS(epoll_wait(ep, e, 4, -1), 1); act(fd, PUSH, 1);
	IS(epoll_wait(ep, e, 4, 5), 0);
	IS(s->armed, 0);
}
static void nesting(void)
{
	int fd = device(), in = epoll_create1(0), out = epoll_create1(0), top = epoll_create1(0), ev = eventfd(0, 0), d;
	struct state *s = page(fd); struct epoll_event e[4]; struct later l; uint64_t v;
	/* nested before it has a device, seen under another number too */
	d = fcntl(in, F_DUPFD_CLOEXEC, 0); IS(watch(out, in, EPOLLIN, 1), 0); IS(watch(top, out, EPOLLIN, 2), 0);
	IS(watch(in, ev, EPOLLIN, 5), 0); IS(epoll_wait(top, e, 4, 0), 0); IS(watch(d, fd, EPOLLIN, 3), 0);
	IS(epoll_wait(top, e, 4, 5), 0);
	act(fd, PUSH, 1); IS(epoll_wait(top, e, 4, -1), 1); IS(e[0].data.u64, 2); IS(epoll_wait(out, e, 4, -1), 1);
	IS(e[0].data.u64, 1); IS(epoll_wait(in, e, 4, -1), 1); IS(e[0].data.u64, 3); IS(epoll_wait(d, e, 4, 0), 1);
	act(fd, TAKE, 1); IS(epoll_wait(top, e, 4, 5), 0);
	later(&l, fd, s, PUSH, 1); IS(epoll_wait(top, e, 4, -1), 1); done(&l); IS(poll1(top, POLLIN, -1), POLLIN);
	act(fd, TAKE, 1); IS(poll1(top, POLLIN, 5), 0);
	later(&l, fd, s, PUSH, 1); IS(poll1(top, POLLIN, -1), POLLIN); done(&l); act(fd, TAKE, 1);
	eventfd_write(ev, 1); IS(epoll_wait(top, e, 4, -1), 1); IS(epoll_wait(out, e, 4, 0), 1);
	IS(epoll_wait(in, e, 4, 0), 1); IS(e[0].data.u64, 5); eventfd_read(ev, &v); act(fd, TOKEN, 0);
	IS(epoll_wait(top, e, 4, 10), 0);
	/* nested after it has one; edge-triggered */
	int other = epoll_create1(0); IS(watch(other, in, EPOLLIN | EPOLLET, 6), 0); IS(epoll_wait(other, e, 4, 0), 0);
	act(fd, PUSH, 1); IS(epoll_wait(other, e, 4, -1), 1); IS(epoll_wait(other, e, 4, 5), 0); act(fd, PUSH, 1);
	IS(epoll_wait(other, e, 4, -1), 1); eventfd_write(ev, 1); IS(epoll_wait(other, e, 4, -1), 1);
	IS(epoll_wait(other, e, 4, 5), 0);
	FAILS(watch(in, top, EPOLLIN, 1), ELOOP); FAILS(watch(in, in, EPOLLIN, 1), EINVAL);
	IS(rewatch(out, in, EPOLLIN, 11), 0); IS(epoll_wait(out, e, 4, 0), 1); IS(e[0].data.u64, 11);
	IS(epoll_ctl(out, EPOLL_CTL_DEL, in, NULL), 0); IS(epoll_wait(top, e, 4, 5), 0); IS(s->armed, 0);
}
struct sleeper { int ep, n; struct epoll_event e; pthread_t t; };
static void *sleep_in(void *p) { struct sleeper *w = p; w->n = epoll_wait(w->ep, &w->e, 1, 60000); return NULL; }
static void *poll_in(void *p) { struct sleeper *w = p; w->n = poll1(w->ep, w->e.events, 60000); return NULL; }
static void asleep(pthread_t t) { (void)t; usleep(30000); }
static void kicks(void)
{
	/* a thread sleeps in a set that has no device yet; then one comes, then a second, then a changed one */
	for (int dupped = 0; dupped < 2; dupped++) {
		int ep = epoll_create1(0), fd = device(), ev = eventfd(0, 0), d; struct sleeper w = { .ep = ep };
		struct state *s = page(fd);
		d = dupped ? fcntl(ep, F_DUPFD_CLOEXEC, 3) : ep; watch(ep, ev, EPOLLIN, 9);
		pthread_create(&w.t, NULL, sleep_in, &w); asleep(w.t); IS(watch(d, fd, EPOLLIN | EPOLLET, 1), 0);
		while (!s->armed) usleep(200);
		act(fd, PUSH, 1); pthread_join(w.t, NULL); IS(w.n, 1); IS(w.e.data.u64, 1);
		int f2 = device(); struct state *s2 = page(f2);
		pthread_create(&w.t, NULL, sleep_in, &w); while (!s->armed) usleep(200); IS(watch(d, f2, EPOLLIN, 2), 0);
		while (!s2->armed) usleep(200);
		act(f2, PUSH, 1); pthread_join(w.t, NULL); IS(w.e.data.u64, 2); act(f2, TAKE, 1);
		IS(rewatch(ep, f2, EPOLLOUT | EPOLLONESHOT, 3), 0); act(f2, ROOM, 1); IS(epoll_wait(ep, &w.e, 1, -1), 1);
		pthread_create(&w.t, NULL, sleep_in, &w); while (!s->armed) usleep(200); asleep(w.t);
		IS(rewatch(d, f2, EPOLLOUT | EPOLLONESHOT, 4), 0); pthread_join(w.t, NULL); IS(w.n, 1); IS(w.e.data.u64, 4);
		/* woken by an ordinary one */
		pthread_create(&w.t, NULL, sleep_in, &w); while (!s->armed) usleep(200); eventfd_write(ev, 1);
		pthread_join(w.t, NULL); IS(w.n, 1); IS(w.e.data.u64, 9); IS(s->armed, 0); IS(s2->armed, 0);
	}
	/* one waits for packets, another for room, on one descriptor: whoever wakes takes nothing from the other */
	int fd = device(); struct state *s = page(fd);
	struct sleeper in = { .ep = fd, .e.events = POLLIN }, room = { .ep = fd, .e.events = POLLOUT };
	for (int i = 0; i < 200; i++) {
		pthread_create(&in.t, NULL, poll_in, &in); pthread_create(&room.t, NULL, poll_in, &room);
		while (s->armed != 2) usleep(50);
		act(fd, ROOM, 1); pthread_join(room.t, NULL); IS(room.n, POLLOUT); act(fd, PUSH, 1); pthread_join(in.t, NULL);
		IS(in.n, POLLIN); act(fd, TAKE, 1); act(fd, ROOM, 0);
	}
	/* several threads in one set: each event finds somebody */
	int ep = epoll_create1(0); watch(ep, fd, EPOLLIN | EPOLLONESHOT, 1); struct sleeper w[4];
	for (int i = 0; i < 4; i++) { w[i].ep = ep; w[i].n = -1; pthread_create(&w[i].t, NULL, sleep_in, &w[i]); }
	while (s->armed != 4) usleep(200);
	act(fd, PUSH, 1);
	for (int i = 0; i < 3; i++) {
		for (int woken = 0; woken <= i; usleep(200)) { woken = 0;
			for (int j = 0; j < 4; j++) woken += *(volatile int *)&w[j].n != -1; }
		rewatch(ep, fd, EPOLLIN | EPOLLONESHOT, 1);
	}
	for (int i = 0; i < 4; i++) { pthread_join(w[i].t, NULL); IS(w[i].n, 1); }
	IS(s->armed, 0); IS(s->arms, s->disarms);
}
static void *never(void *p) { poll1(*(int *)p, POLLIN, -1); return NULL; }
static void *busy(void *p) { for (;;) poll1(*(int *)p, POLLIN, -1); return NULL; }
static void *in_set(void *p) { struct epoll_event e; epoll_wait(*(int *)p, &e, 1, -1); return NULL; }
static void cancelling(void)
{
	int fd = device(), ep = epoll_create1(0); struct state *s = page(fd); pthread_t t; void *r; watch(ep, fd, EPOLLIN, 1);
	pthread_create(&t, NULL, never, &fd); while (!s->armed) usleep(200); asleep(t); pthread_cancel(t);
	pthread_join(t, &r); CHECK(r == PTHREAD_CANCELED); IS(s->armed, 0); IS(s->arms, s->disarms);
	pthread_create(&t, NULL, in_set, &ep); while (!s->armed) usleep(200); asleep(t); pthread_cancel(t);
	pthread_join(t, &r); CHECK(r == PTHREAD_CANCELED); IS(s->armed, 0);
	act(fd, PUSH, 1); pthread_create(&t, NULL, busy, &fd); asleep(t); pthread_cancel(t); pthread_join(t, &r);
	CHECK(r == PTHREAD_CANCELED);
	IS(poll1(fd, POLLIN, 0), POLLIN);
	/* closed by another thread while one sleeps on it: it sleeps on, as in the kernel */
	act(fd, TAKE, 1); struct sleeper w = { .ep = fd, .e.events = POLLIN }; pthread_create(&w.t, NULL, poll_in, &w);
	while (!s->armed) usleep(200); int d = dup(fd); close(fd); act(d, PUSH, 1); pthread_join(w.t, NULL); IS(w.n, POLLIN);
}
static volatile int stop; static int churn_fd;
static void *closer(void *p) { (void)p; while (!stop) { int fd = device(); churn_fd = fd; act(fd, PUSH, 1);
	dup2(fd, 90); close(fd); close(90); } return NULL; }
static void *user(void *p) { (void)p; struct pollfd f[2] = { { 90, POLLIN, 0 }, { 0, 0, 0 } };
	while (!stop) { f[1].fd = churn_fd; poll(f, 2, 0); act(90, TOKEN, 0); act(churn_fd, TAKE, 0); } return NULL; }
static void churn(void)
{
	pthread_t t[4]; pthread_create(&t[0], NULL, closer, NULL);
	for (int i = 1; i < 4; i++) pthread_create(&t[i], NULL, user, NULL);
	sleep(1); stop = 1; for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
}
/* short calls, which count nothing, of descriptors that another thread closes and opens again */
static void *reader(void *p)
{
	(void)p;
	while (!stop) { act(90, SHORT, 5); act(churn_fd, SHORT, 5); poll1(90, POLLIN, 0); }
	return NULL;
}
static void *once(void *p) { IS(act(*(int *)p, SHORT, 0), 0); return NULL; }
static void reading(void)
{
	pthread_t t[3], u;
	for (int i = 0; i < 3; i++) pthread_create(&t[i], NULL, reader, NULL);
	for (int i = 0; i < 100; i++) {
		int fd = device(); churn_fd = fd; dup2(fd, 90); usleep(i % 7 * 100); close(fd); sched_yield(); close(90);
	}
	stop = 1; for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
	/* nobody reads: what was closed is gone with the next open, also when threads have come and gone */
	int fd = device(); IS(act(fd, COUNTED, 0), 1);
	for (int i = 0; i < 1100; i++) { if (pthread_create(&u, NULL, once, &fd)) exit(1); pthread_join(u, NULL); }
	close(fd); fd = device(); IS(act(fd, COUNTED, 0), 1); IS(act(fd, SHORT, 1), 0);
	/* more threads than processors, of which some have always begun to read: what was closed goes all the same */
	pthread_t many[8]; stop = 0; churn_fd = fd; dup2(fd, 90);
	for (int i = 0; i < 8; i++) pthread_create(&many[i], NULL, reader, NULL);
	for (int i = 0; i < 100; i++) { int other = device(); usleep(1000); close(other); }
	CHECK(act(fd, COUNTED, 0) < 50);
	stop = 1; for (int i = 0; i < 8; i++) pthread_join(many[i], NULL);
	close(90); close(device()); close(fd); fd = device();
	pid_t child = fork();
	if (!child) { IS(act(fd, SHORT, 1), 0); close(fd); fd = device(); IS(act(fd, COUNTED, 0), 1); _exit(failures != 0); }
	int status; waitpid(child, &status, 0); IS(status, 0);
}
int main(int argc, char **argv)
{
	const struct { const char *name; void (*f)(void); }
	sections[] = { { "polling", polling }, { "signals", signals }, { "selecting", selecting }, { "levels", levels },
		{ "edges", edges }, { "nesting", nesting }, { "kicks", kicks }, { "cancelling", cancelling }, { "churn", churn },
		{ "reading", reading } };
	on_alarm(quiet);
	for (unsigned i = 0; i < sizeof sections / sizeof *sections; i++)
		if (argc > 1 && !strcmp(argv[1], sections[i].name)) { sections[i].f(); return failures != 0; }
	return 2;
}
