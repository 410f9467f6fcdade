/* Programs in odd but real surroundings: handlers that work, jump and end threads, asynchronous cancellation.
 * One case per run. */
#include "robust.h"

#include <pthread.h>
#include <setjmp.h>

#define JUMPS 200
#define SENDER 1

static struct port a, b;
static uint64_t seq;
static struct seen seen;

static void set_timer(long microseconds, int again)
{
	struct itimerval t = { .it_value.tv_usec = microseconds, .it_interval.tv_usec = again ? microseconds : 0 };
	setitimer(ITIMER_REAL, &t, NULL);
}

static void open_both(void)
{
	a = open_port("vale0:a");
	b = open_port("vale0:b");
}

/* A packet of this process and one of another arrive at `a`. */
static void check_both_ways(void)
{
	check_path(&b, &a, SENDER, &seq, &seen);
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		uint64_t other = 0;
		struct port c = open_port("vale0:c");
		send_one(&c, 0xff, 7, &other);
		_exit(0);
	}
	wait_child(child);
	CHECK(take_now(&a, &seen) == 1);
	seen.known[7] = 0;
}

/* The program's own work may have been left between head and cur, or between a packet and its sync: two syncs, since
 * the first one may only put the ring's indices right. */
static void settle(void)
{
	for (int i = 0; i < 2; i++) {
		tx_ring(&b, 0)->cur = tx_ring(&b, 0)->head;
		CHECK(ioctl(b.fd, NIOCTXSYNC, NULL) == 0);
		take_now(&a, &seen);
	}
}

/* ---- handlers ---- */

static int handler_set, handler_opens;
static struct port handlers_port;
static volatile sig_atomic_t handled;
/* Microseconds from the end of the handler to the next signal, if that is not periodic: then what it interrupts goes on
 * in between, however long the handler takes. */
static volatile sig_atomic_t pause_between;

static void work(int signal)
{
	static const uint8_t frame[SHORTEST] = { 255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 9, 0x88, 0xb5 };
	struct netmap_ring *tx = tx_ring(&handlers_port, 0);
	int saved = errno;
	struct epoll_event event;
	struct pollfd entry = { handlers_port.fd, POLLIN | POLLOUT, 0 };

	(void)signal;
	CHECK(ioctl(handlers_port.fd, NIOCRXSYNC, NULL) == 0);
	rx_ring(&handlers_port, 0)->head = rx_ring(&handlers_port, 0)->cur = rx_ring(&handlers_port, 0)->tail;
	/* a packet of nobody's; what is not there yet when this is interrupted is sent with the next one */
	if (ring_space(tx) > 0) {
		struct netmap_slot *slot = &tx->slot[tx->head];
		memcpy(NETMAP_BUF(tx, slot->buf_idx), frame, sizeof frame);
		slot->len = sizeof frame;
		tx->head = tx->cur = nm_ring_next(tx, tx->head);
		CHECK(ioctl(handlers_port.fd, NIOCTXSYNC, NULL) == 0);
	}
	CHECK(poll(&entry, 1, 0) >= 0);
	CHECK(epoll_wait(handler_set, &event, 1, 0) >= 0);
	if (handler_opens && handled % 4 == 0) {
		struct port p = open_port("vale1:h");
		close_port(&p);
	}
	handled++;
	if (pause_between > 0)
		set_timer(pause_between, 0);
	errno = saved;
}

/* Whatever the handler interrupts, it must not wait for its own thread. */
static void handler_works(void)
{
	struct epoll_event wanted = { .events = EPOLLIN }, event;
	int i = 0;

	open_both();
	handlers_port = open_port("vale0:timer");
	handler_set = epoll_create1(0);
	CHECK(epoll_ctl(handler_set, EPOLL_CTL_ADD, a.fd, &wanted) == 0);
	handler_opens = 1;
	signal(SIGALRM, work);
	set_timer(700, 1);
	while (handled < 600) {
		struct pollfd entry = { a.fd, POLLIN, 0 };
		fd_set set;
		send_one(&b, 0xff, SENDER, &seq);
		CHECK(epoll_wait(handler_set, &event, 1, 0) >= 0);
		CHECK(poll(&entry, 1, 0) >= 0);
		FD_ZERO(&set);
		FD_SET(a.fd, &set);
		struct timeval none = { 0, 0 };
		CHECK(select(a.fd + 1, &set, NULL, NULL, &none) >= 0);
		epoll_ctl(handler_set, EPOLL_CTL_DEL, a.fd, NULL);
		epoll_ctl(handler_set, EPOLL_CTL_ADD, a.fd, &wanted);
		if (i++ % 20 == 0) {
			struct port p = open_port("vale2:m");
			close_port(&p);
		}
		take_now(&a, &seen);
		/* most of the time the handler interrupts malloc */
		for (int k = 0; k < 2000; k++)
			free(malloc((size_t)(k * 37 % 3000)));
	}
	set_timer(0, 0);
	check_both_ways();
}

/* The first packets to regions that are not mapped yet, interrupted by a handler that sends there too. */
static void handler_maps(void)
{
	handler_opens = 0;
	for (int i = 0; i < 40; i++) {
		char name[32];
		struct port others[4];
		handlers_port = open_port("vale0:timer");
		handler_set = epoll_create1(0);
		b = open_port("vale0:b");
		for (int k = 0; k < 4; k++) {
			/* each has a memory of its own */
			snprintf(name, sizeof name, "vale0:o%d", k);
			others[k] = open_port(name);
		}
		signal(SIGALRM, work);
		pause_between = 20 + i;
		set_timer(pause_between, 0);
		for (int k = 0; k < 20; k++)
			send_one(&b, 0xff, SENDER, &seq);
		pause_between = 0;
		set_timer(0, 0);
		for (int k = 0; k < 4; k++)
			close_port(&others[k]);
		close_port(&b);
		close_port(&handlers_port);
		close(handler_set);
	}
	CHECK(handled > 0);
}

static sigjmp_buf out;
static volatile sig_atomic_t may_jump;

static void jump(int signal)
{
	(void)signal;
	if (may_jump)
		siglongjmp(out, 1);
}

static void jump_out_of(void (*call)(void))
{
	volatile int jumps = 0;

	signal(SIGALRM, jump);
	while (jumps < JUMPS) {
		if (sigsetjmp(out, 1) == 0) {
			may_jump = 1;
			set_timer(30 + jumps % 170, 0);
			for (;;)
				call();
		}
		may_jump = 0;
		jumps++;
		take_now(&a, &seen);
	}
	settle();
	check_both_ways();
}

static void sync_call(void)
{
	send_one(&b, 0xff, SENDER, &seq);
}

static void poll_call(void)
{
	struct pollfd entry = { a.fd, POLLIN, 0 };
	poll(&entry, 1, -1);
	take_now(&a, &seen);
}

static int jump_set;

static void epoll_call(void)
{
	struct epoll_event event;
	epoll_wait(jump_set, &event, 1, -1);
	take_now(&a, &seen);
}

static void jump_out_of_a_sync(void)
{
	open_both();
	jump_out_of(sync_call);
}

static void jump_out_of_poll(void)
{
	struct epoll_event wanted = { .events = EPOLLIN };

	open_both();
	jump_out_of(poll_call);
	jump_set = epoll_create1(0);
	CHECK(epoll_ctl(jump_set, EPOLL_CTL_ADD, a.fd, &wanted) == 0);
	jump_out_of(epoll_call);
	/* nobody is asleep any more as far as the ring knows: waiting works as at first */
	struct pollfd entry = { a.fd, POLLIN, 0 };
	send_one(&b, 0xff, SENDER, &seq);
	CHECK(poll(&entry, 1, 5000) == 1);
	take_now(&a, &seen);
	CHECK(poll(&entry, 1, 10) == 0);
}

static void end_thread(int signal)
{
	(void)signal;
	pthread_exit(NULL);
}

static void *send_for_ever(void *arg)
{
	sigset_t usr1;

	(void)arg;
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
	for (;;)
		sync_call();
	return NULL;
}

static void *poll_for_ever(void *arg)
{
	struct pollfd entry = { b.fd, POLLIN, 0 };
	sigset_t usr1;

	(void)arg;
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
	for (;;)
		poll(&entry, 1, -1);
	return NULL;
}

static void handler_ends_its_thread(void)
{
	void *(*const bodies[])(void *) = { send_for_ever, poll_for_ever };

	open_both();
	signal(SIGUSR1, end_thread);
	for (int i = 0; i < 60; i++) {
		pthread_t t;
		sigset_t usr1;
		sigemptyset(&usr1);
		sigaddset(&usr1, SIGUSR1);
		pthread_sigmask(SIG_BLOCK, &usr1, NULL);
		CHECK(pthread_create(&t, NULL, bodies[i % 2], NULL) == 0);
		usleep(500 + i * 37);
		pthread_kill(t, SIGUSR1);
		pthread_join(t, NULL);
		take_now(&a, &seen);
	}
	settle();
	check_both_ways();
}

/* ---- cancellation ---- */

static void *sync_async(void *arg)
{
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	return send_for_ever(arg);
}

static void *poll_async(void *arg)
{
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	return poll_for_ever(arg);
}

static void *busy_poll_async(void *arg)
{
	struct pollfd entry = { b.fd, POLLOUT, 0 };

	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	for (;;)
		poll(&entry, 1, 0);
	return arg;
}

static void asynchronous_cancellation(void)
{
	void *(*const bodies[])(void *) = { sync_async, poll_async, busy_poll_async };

	open_both();
	for (int i = 0; i < 60; i++) {
		pthread_t t;
		void *result;
		CHECK(pthread_create(&t, NULL, bodies[i % 3], NULL) == 0);
		usleep(500 + i * 37);
		CHECK(pthread_cancel(t) == 0);
		CHECK(pthread_join(t, &result) == 0 && result == PTHREAD_CANCELED);
		take_now(&a, &seen);
	}
	settle();
	check_both_ways();
}

/* ---- what programs are told of their handlers ---- */

static siginfo_t last;

static void note(int signal, siginfo_t *info, void *context)
{
	(void)context;
	handled = signal;
	last = *info;
}

static void plain(int signal)
{
	handled = signal;
}

static void jump_from_fault(int signal, siginfo_t *info, void *context)
{
	note(signal, info, context);
	siglongjmp(out, 1);
}

/* The status with which a child ends that runs `body`. */
static int ends(void (*body)(void))
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		body();
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child);
	return status;
}

static void fault(void)
{
	*(volatile int *)8 = 1;
}

static void raise_fault(void)
{
	raise(SIGSEGV);
}

static void handlers_are_the_programs(void)
{
	struct sigaction action = { .sa_sigaction = note, .sa_flags = SA_SIGINFO }, old;

	CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
	open_both();
	/* one that was there before the device, and those that come after */
	CHECK(sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_sigaction == note && old.sa_flags & SA_SIGINFO);
	union sigval value = { .sival_int = 77 };
	CHECK(sigqueue(getpid(), SIGUSR1, value) == 0 && handled == SIGUSR1 && last.si_value.sival_int == 77);
	CHECK(signal(SIGUSR1, plain) == old.sa_handler);
	CHECK(sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_handler == plain && !(old.sa_flags & SA_SIGINFO));
	handled = 0;
	raise(SIGUSR1);
	CHECK(handled == SIGUSR1);
	CHECK(signal(SIGUSR1, SIG_IGN) == plain && signal(SIGUSR1, SIG_DFL) == SIG_IGN);
	action = (struct sigaction){ .sa_handler = plain, .sa_flags = SA_RESETHAND };
	CHECK(sigaction(SIGUSR2, &action, NULL) == 0 && sigaction(SIGUSR2, NULL, &old) == 0);
	CHECK(old.sa_handler == plain && old.sa_flags & SA_RESETHAND);
	raise(SIGUSR2);
	CHECK(handled == SIGUSR2 && sigaction(SIGUSR2, NULL, &old) == 0 && old.sa_handler == SIG_DFL);
	/* faults stay faults */
	CHECK(sigaction(SIGSEGV, NULL, &old) == 0 && old.sa_handler == SIG_DFL);
	int status = ends(fault);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	status = ends(raise_fault);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	action = (struct sigaction){ .sa_sigaction = jump_from_fault, .sa_flags = SA_SIGINFO };
	CHECK(sigaction(SIGSEGV, &action, &old) == 0 && old.sa_handler == SIG_DFL);
	if (sigsetjmp(out, 1) == 0)
		fault();
	CHECK(handled == SIGSEGV && last.si_addr == (void *)8);
	check_both_ways();
}

static void ignored_signals_end_no_wait(void)
{
	struct epoll_event wanted = { .events = EPOLLIN }, event;
	int set = epoll_create1(0);
	pid_t self = getpid();

	open_both();
	CHECK(epoll_ctl(set, EPOLL_CTL_ADD, a.fd, &wanted) == 0);
	signal(SIGUSR1, SIG_IGN);
	pid_t child = fork();
	if (child == 0) {
		for (;;) {
			usleep(500);
			kill(self, SIGUSR1);
		}
	}
	for (int i = 0; i < 40; i++) {
		struct pollfd entry = { a.fd, POLLIN, 0 };
		CHECK(epoll_wait(set, &event, 1, 10) == 0);
		CHECK(poll(&entry, 1, 10) == 0);
	}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/* ---- two waiters on one description ---- */

static volatile int woken;

static void *wait_for_one(void *arg)
{
	struct pollfd entry = { a.fd, POLLIN, 0 };

	for (int i = 0; i < 30; i++) {
		CHECK(poll(&entry, 1, -1) == 1);
		__atomic_add_fetch(&woken, 1, __ATOMIC_SEQ_CST);
		while (__atomic_load_n(&woken, __ATOMIC_SEQ_CST) & 1)
			usleep(100);
	}
	return arg;
}

/* The sleep of one ends by its time limit, and the other is still to be woken: each of thirty times it would
 * else sleep for about a second until it looks by itself. */
static void one_of_two_waiters_gives_up(void)
{
	pthread_t t;
	uint64_t begin = milliseconds();

	open_both();
	CHECK(pthread_create(&t, NULL, wait_for_one, NULL) == 0);
	for (int i = 0; i < 30; i++) {
		struct pollfd entry = { a.fd, POLLIN, 0 };
		usleep(3000);
		CHECK(poll(&entry, 1, 5) == 0);
		send_one(&b, 0xff, SENDER, &seq);
		while (!(__atomic_load_n(&woken, __ATOMIC_SEQ_CST) & 1))
			usleep(100);
		take_now(&a, &seen);
		__atomic_add_fetch(&woken, 1, __ATOMIC_SEQ_CST);
	}
	CHECK(pthread_join(t, NULL) == 0);
	CHECK(milliseconds() - begin < 20000);
}

/* ---- */

static const struct test_case cases[] = {
	{ "handler-works", handler_works },
	{ "handler-maps", handler_maps },
	{ "jump-out-of-a-sync", jump_out_of_a_sync },
	{ "jump-out-of-poll", jump_out_of_poll },
	{ "handler-ends-its-thread", handler_ends_its_thread },
	{ "asynchronous-cancellation", asynchronous_cancellation },
	{ "handlers-are-the-programs", handlers_are_the_programs },
	{ "ignored-signals", ignored_signals_end_no_wait },
	{ "one-of-two-waiters", one_of_two_waiters_gives_up },
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, cases, COUNT(cases));
}
