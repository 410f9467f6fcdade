/* Signals that come while a thread waits for a port, and waits with masks and time limits of all kinds. */
#include "scenario.h"

#include <pthread.h>
#include <sys/syscall.h>

static volatile sig_atomic_t caught;

static void catch(int number)
{
	(void)number;
	caught++;
}

static void install(int flags)
{
	struct sigaction action = { .sa_handler = catch, .sa_flags = flags };
	sigemptyset(&action.sa_mask);
	sigaction(SIGUSR1, &action, NULL);
	caught = 0;
}

/* A child that sends SIGUSR1 until it is killed: whenever the parent gets to sleep, one comes. */
static pid_t begin_signals(void)
{
	pid_t parent = getpid(), child = fork();
	if (child == 0) {
		for (;;) {
			usleep(2000);
			if (kill(parent, SIGUSR1) < 0)
				_exit(0);
		}
	}
	return child;
}

static void end_signals(pid_t child)
{
	kill(child, SIGKILL);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
}

/* poll and its like are never restarted, whatever SA_RESTART says. */
static void interrupted(void)
{
	MUST_OPEN(p, "vales:p");
	struct epoll_event got;
	int set = epoll_create1(0), n;
	struct epoll_event wanted = { .events = EPOLLIN };
	epoll_ctl(set, EPOLL_CTL_ADD, p.fd, &wanted);
	for (int restart = 0; restart < 2; restart++) {
		char key[32];
		install(restart ? SA_RESTART : 0);
		pid_t child = begin_signals();
#define TRY(what, call) \
		n = call; \
		snprintf(key, sizeof key, "%s.%d", what, restart); \
		fact(key, "%d %s", n, error_name(n < 0 ? errno : 0))
		struct pollfd entry = { .fd = p.fd, .events = POLLIN };
		fd_set set_of_one;
		struct timeval long_time = { LONG_MS / 1000, 0 };
		struct timespec long_spec = { LONG_MS / 1000, 0 };
		FD_ZERO(&set_of_one);
		FD_SET(p.fd, &set_of_one);
		TRY("poll", poll(&entry, 1, LONG_MS));
		TRY("poll_for_ever", poll(&entry, 1, -1));
		TRY("ppoll", ppoll(&entry, 1, &long_spec, NULL));
		TRY("select", select(p.fd + 1, &set_of_one, NULL, NULL, &long_time));
		FD_SET(p.fd, &set_of_one);
		TRY("pselect", pselect(p.fd + 1, &set_of_one, NULL, NULL, &long_spec, NULL));
		TRY("epoll_wait", epoll_wait(set, &got, 1, LONG_MS));
		TRY("epoll_pwait", epoll_pwait(set, &got, 1, -1, NULL));
#undef TRY
		end_signals(child);
		snprintf(key, sizeof key, "handler_ran.%d", restart);
		fact(key, "%d", caught > 0);
	}
}

/* A signal that the wait's mask lets in interrupts it; it is handled before the wait returns. */
static void masks(void)
{
	MUST_OPEN(p, "vales:p");
	sigset_t blocked, open_mask;
	struct epoll_event got, wanted = { .events = EPOLLIN };
	struct pollfd entry = { .fd = p.fd, .events = POLLIN };
	struct timespec short_time = { 0, 20000000 }, long_time = { LONG_MS / 1000, 0 };
	int set = epoll_create1(0), n;
	epoll_ctl(set, EPOLL_CTL_ADD, p.fd, &wanted);
	install(0);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigprocmask(SIG_BLOCK, &blocked, &open_mask);
	raise(SIGUSR1);
	n = ppoll(&entry, 1, &short_time, NULL);
	fact("ppoll_blocked", "%d caught %d", n, (int)caught);
	n = ppoll(&entry, 1, &long_time, &open_mask);
	fact("ppoll_let_in", "%d %s caught %d", n, error_name(n < 0 ? errno : 0), (int)caught);
	raise(SIGUSR1);
	n = epoll_pwait(set, &got, 1, LONG_MS, &open_mask);
	fact("epoll_pwait_let_in", "%d %s caught %d", n, error_name(n < 0 ? errno : 0), (int)caught);
	raise(SIGUSR1);
	fd_set reading;
	FD_ZERO(&reading);
	FD_SET(p.fd, &reading);
	n = pselect(p.fd + 1, &reading, NULL, NULL, &long_time, &open_mask);
	fact("pselect_let_in", "%d %s caught %d", n, error_name(n < 0 ? errno : 0), (int)caught);
	/* the mask is back */
	raise(SIGUSR1);
	n = poll(&entry, 1, 20);
	fact("poll_blocked", "%d caught %d", n, (int)caught);
	/* what is ready is reported, the signal stays */
	entry.events = POLLOUT;
	n = ppoll(&entry, 1, &long_time, &blocked);
	fact("ppoll_ready", "%d caught %d", n, (int)caught);
}

/* What is ready wins over a signal that is pending and let in? The kernel looks at the descriptors first. */
static void ready_and_signalled(void)
{
	MUST_OPEN(p, "vales:p");
	sigset_t blocked, open_mask;
	struct pollfd entry = { .fd = p.fd, .events = POLLOUT };
	struct timespec long_time = { LONG_MS / 1000, 0 };
	install(0);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigprocmask(SIG_BLOCK, &blocked, &open_mask);
	raise(SIGUSR1);
	int n = ppoll(&entry, 1, &long_time, &open_mask);
	sigset_t pending;
	sigpending(&pending);
	fact("ppoll", "%d:%s caught %d pending %d", n, event_names(entry.revents), (int)caught,
		sigismember(&pending, SIGUSR1));
}

/* A handler that uses ports itself. */
static struct port *handlers_port;

static void sync_in_handler(int number)
{
	(void)number;
	struct netmap_ring *ring = txring(handlers_port, 0);
	if (!available(ring))
		return;
	put_on(ring, mac_all, mac_c, 60, 0x51, 0);
	txsync(handlers_port);
	caught++;
}

static void in_handlers(void)
{
	MUST_OPEN(a, "vales:a");
	MUST_OPEN(b, "vales:b");
	MUST_OPEN(c, "vales:c");
	handlers_port = &c;
	struct sigaction action = { .sa_handler = sync_in_handler };
	sigaction(SIGUSR1, &action, NULL);
	caught = 0;
	pid_t child = begin_signals();
	unsigned own = 0, handlers = 0, other = 0, sent = 0;
	while (caught < 20) {
		if (available(txring(&a, 0))) {
			put_on(txring(&a, 0), mac_all, mac_a, 60, 0x52, 0);
			if (txsync(&a) == 0)
				sent++;
		}
		poll_result(b.fd, POLLIN, 0);
		struct netmap_ring *ring = rxring(&b, 0);
		for (; ring->head != ring->tail; ring->head = ring->cur = next_slot(ring, ring->head)) {
			uint8_t tag = (uint8_t)NETMAP_BUF(ring, ring->slot[ring->head].buf_idx)[59];
			own += tag == 0x52;
			handlers += tag == 0x51;
			other += tag != 0x52 && tag != 0x51;
		}
	}
	end_signals(child);
	rxsync(&b);
	struct netmap_ring *ring = rxring(&b, 0);
	for (; ring->head != ring->tail; ring->head = ring->cur = next_slot(ring, ring->head)) {
		uint8_t tag = (uint8_t)NETMAP_BUF(ring, ring->slot[ring->head].buf_idx)[59];
		own += tag == 0x52;
		handlers += tag == 0x51;
	}
	fact("all_arrived", "own %d handlers %d other %u", own == sent, handlers == (unsigned)caught, other);
}

/* Time limits that are odd. */
static void limits(void)
{
	MUST_OPEN(p, "vales:p");
	struct pollfd entry = { .fd = p.fd, .events = POLLIN };
	struct timespec negative = { -1, 0 }, too_many = { 0, 1000000000 }, nothing = { 0, 0 };
	struct timeval odd = { 0, 2000000 }, zero = { 0, 0 };
	fd_set reading;
	int n;
#define SAY(key, call) \
	n = call; \
	fact(key, "%d %s", n, error_name(n < 0 ? errno : 0))
	SAY("ppoll_negative", ppoll(&entry, 1, &negative, NULL));
	SAY("ppoll_too_many_ns", ppoll(&entry, 1, &too_many, NULL));
	SAY("ppoll_nothing", ppoll(&entry, 1, &nothing, NULL));
	FD_ZERO(&reading);
	FD_SET(p.fd, &reading);
	SAY("pselect_negative", pselect(p.fd + 1, &reading, NULL, NULL, &negative, NULL));
	FD_ZERO(&reading);
	FD_SET(p.fd, &reading);
	odd.tv_sec = -1;
	SAY("select_negative", select(p.fd + 1, &reading, NULL, NULL, &odd));
	FD_ZERO(&reading);
	FD_SET(p.fd, &reading);
	SAY("select_zero", select(p.fd + 1, &reading, NULL, NULL, &zero));
	fact("select_zero.set", "%d", FD_ISSET(p.fd, &reading));
	SAY("poll_none", poll(NULL, 0, 0));
	struct pollfd three[] = { { .fd = -1, .events = POLLIN, .revents = 77 }, { .fd = p.fd, .events = POLLOUT },
		{ .fd = 9999, .events = POLLIN } };
	SAY("poll_mixed", poll(three, 3, 1000));
	fact("poll_mixed.events", "%s,%s,%s", event_names(three[0].revents), event_names(three[1].revents),
		event_names(three[2].revents));
#undef SAY
}

/* Arguments that lead nowhere, in a program that has ports open. */
static void poll_nowhere(void)
{
	MUST_OPEN(p, "vales:p");
	struct pollfd *volatile nowhere = (struct pollfd *)8;
	fact_error("poll", ERROR_OF(poll(nowhere, 1, 0)));
}

static void select_nowhere(void)
{
	MUST_OPEN(p, "vales:p");
	fd_set *volatile nowhere = (fd_set *)8;
	struct timeval zero = { 0, 0 };
	fact_error("select", ERROR_OF(select(p.fd + 1, nowhere, NULL, NULL, &zero)));
}

static void epoll_nowhere(void)
{
	MUST_OPEN(p, "vales:p");
	struct epoll_event *volatile nowhere = (struct epoll_event *)8, wanted = { .events = EPOLLOUT };
	int set = epoll_create1(0);
	fact_error("ctl", ERROR_OF(epoll_ctl(set, EPOLL_CTL_ADD, p.fd, nowhere)));
	epoll_ctl(set, EPOLL_CTL_ADD, p.fd, &wanted);
	fact_error("wait", ERROR_OF(epoll_wait(set, nowhere, 1, 0)));
}

SCENARIO("switch", "signals, masks and time limits while waiting for ports",
	{ "interrupted", interrupted }, { "masks", masks }, { "ready_and_signalled", ready_and_signalled },
	{ "in_handlers", in_handlers }, { "limits", limits }, { "poll_nowhere", poll_nowhere },
	{ "select_nowhere", select_nowhere }, { "epoll_nowhere", epoll_nowhere })
