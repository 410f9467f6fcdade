/*
 * How sync loops end: stopped, closed, killed, with memory taken away or full of nonsense. Each case is a world of
 * its own.
 */
#include "kloop.h"

static void stop_before_start(void)
{
	struct looped l;
	open_looped(&l, "vale0:l");
	for (int i = 0; i < 3; i++) {
		CHECK(refused(l.port.fd, NETMAP_REQ_SYNC_KLOOP_STOP, "", NULL, NULL) == 0);
		/* over before it begins, in this very thread */
		struct nmreq_sync_kloop_start s = { 0 };
		CHECK(refused(l.port.fd, NETMAP_REQ_SYNC_KLOOP_START, "", &s, NULL) == 0);
	}
	start(&l, 10, NULL);
	wait_running(&l);
	stop(&l);
	close_port(&l.port);
}

/* When STOP has returned the loop is over. */
static void stop_waits(void)
{
	struct looped l;
	open_looped(&l, "vale0:l");
	for (int i = 0; i < 100; i++) {
		start(&l, 2000, NULL);
		wait_running(&l);
		CHECK(refused(l.port.fd, NETMAP_REQ_SYNC_KLOOP_STOP, "", NULL, NULL) == 0);
		struct nmreq_opt_csb o = csb_option(l.atok, l.ktoa);
		CHECK(refused(l.port.fd, NETMAP_REQ_CSB_ENABLE, "", NULL, &o) == 0);
		CHECK(pthread_join(l.thread, NULL) == 0 && l.result == 0);
	}
	close_port(&l.port);
}

static void stop_child(void *with)
{
	struct looped *l = with;
	CHECK(refused(l->port.fd, NETMAP_REQ_SYNC_KLOOP_STOP, "", NULL, NULL) == 0);
}

static void stopped_by_others(void)
{
	struct looped l;
	open_looped(&l, "vale0:l");
	struct eventfds o = eventfds_of(&l);
	for (int i = 0; i < 4; i++) {
		start(&l, 1000, i % 2 ? &o : NULL);
		wait_running(&l);
		if (i < 2) {
			/* a child has the descriptor */
			in_child(stop_child, &l);
			CHECK(pthread_join(l.thread, NULL) == 0 && l.result == 0);
		} else {
			int twin = dup(l.port.fd);
			stop_by(&l, twin);
			close(twin);
		}
		l.ktoa[RX].kern_need_kick = 1;
	}
	close_port(&l.port);
}

static _Atomic int signals;

static void count_signal(int signal)
{
	(void)signal;
	signals++;
}

static void *stopper;

static void stop_in_handler(int signal)
{
	struct looped *l = stopper;
	(void)signal;
	CHECK(refused(l->port.fd, NETMAP_REQ_SYNC_KLOOP_STOP, "", NULL, NULL) == 0);
}

static void signals_in_the_loop(void)
{
	struct looped l;
	struct port other = open_port("vale0:other");
	open_looped(&l, "vale0:l");
	struct eventfds o = eventfds_of(&l);
	struct sigaction count = { .sa_handler = count_signal }, end = { .sa_handler = stop_in_handler };
	CHECK(sigaction(SIGUSR1, &count, NULL) == 0 && sigaction(SIGUSR2, &end, NULL) == 0);
	for (int i = 0; i < 2; i++) {
		start(&l, 1000, i ? &o : NULL);
		wait_running(&l);
		for (int n = 0; n < 200; n++) {
			int before = signals;
			CHECK(pthread_kill(l.thread, SIGUSR1) == 0);
			WAIT_FOR(signals > before);
			CHECK(!l.over);
		}
		send_and_see(&l, &other, 10);
		stopper = &l;
		CHECK(pthread_kill(l.thread, SIGUSR2) == 0);
		CHECK(pthread_join(l.thread, NULL) == 0 && l.result == 0);
		l.ktoa[RX].kern_need_kick = 1;
	}
	close_port(&l.port);
	close_port(&other);
}

/* The loop holds the port open, as an ioctl holds a file. */
static void closed_while_it_runs(void)
{
	struct looped l;
	struct port other = open_port("vale0:other");
	open_looped(&l, "vale0:l");
	int twin = dup(l.port.fd);
	start(&l, 100, NULL);
	wait_running(&l);
	close(l.port.fd);
	send_and_see(&l, &other, 20);
	/* the number is somebody else's now */
	int fd = open_device();
	CHECK(fd == l.port.fd);
	close(fd);
	stop_by(&l, twin);
	close(twin);
	close_port(&other);
}

static void run_until_killed(struct looped *l, int ready)
{
	start(l, 100, NULL);
	wait_running(l);
	CHECK(write(ready, "x", 1) == 1);
	for (;;)
		pause();
}

static void the_looping_process_dies(void)
{
	for (int i = 0; i < 3; i++) {
		struct looped l;
		int ready[2], status;
		char c;
		open_looped(&l, "vale0:l");
		CHECK(pipe(ready) == 0);
		pid_t pid = fork();
		CHECK(pid >= 0);
		if (pid == 0)
			run_until_killed(&l, ready[1]);
		CHECK(read(ready[0], &c, 1) == 1);
		struct nmreq_sync_kloop_start s = { 0 };
		CHECK(refused(l.port.fd, NETMAP_REQ_SYNC_KLOOP_START, "", &s, NULL) == EBUSY);
		kill(pid, i == 0 ? SIGKILL : SIGTERM);
		CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
		/* the loop is over with it, and another can begin */
		CHECK(refused(l.port.fd, NETMAP_REQ_SYNC_KLOOP_STOP, "", NULL, NULL) == 0);
		start(&l, 100, NULL);
		WAIT_FOR(l.over || SEEN(l.ktoa[RX].kern_need_kick) == 0);
		if (!l.over || l.result == 0) {
			stop(&l);
		} else {
			CHECK(pthread_join(l.thread, NULL) == 0);
			CHECK(l.error == EBUSY);
			WAIT_FOR(refused(l.port.fd, NETMAP_REQ_SYNC_KLOOP_START, "", &s, NULL) == 0);
		}
		close_port(&l.port);
		close(ready[0]);
		close(ready[1]);
	}
}

/* The program takes the CSB away from under the loop. */
static void csb_unmapped(void)
{
	for (int i = 0; i < 3; i++) {
		struct looped l;
		open_looped(&l, "vale0:l");
		start(&l, 0, NULL);
		wait_running(&l);
		if (i == 0)
			CHECK(munmap(l.atok, 4096) == 0);
		if (i == 1)
			CHECK(mprotect(l.atok, 4096, PROT_NONE) == 0);
		if (i == 2)
			memset(l.atok, 0xff, 4096);
		pause_ms(20);
		CHECK(!l.over);
		stop(&l);
		/* and a loop that begins without one */
		start(&l, 0, NULL);
		pause_ms(5);
		stop(&l);
		close_port(&l.port);
	}
}

/* Nonsense in head and cur, over and over: only the port itself suffers. */
static void wild_csb(void)
{
	struct looped l;
	struct port a = open_port("vale0:a"), b = open_port("vale0:b");
	open_looped(&l, "vale0:l");
	struct eventfds o = eventfds_of(&l);
	start(&l, 0, &o);
	wait_running(&l);
	unsigned x = 1;
	uint64_t one = 1, seq = 0;
	struct seen seen;
	memset(&seen, 0, sizeof seen);
	for (int i = 0; i < 3000; i++) {
		x = x * 1103515245u + 12345u;
		SEEN(l.atok[i & 1].head) = i & 2 ? x : x >> 20;
		SEEN(l.atok[i & 1].cur) = i & 4 ? x >> 3 : x >> 21;
		SEEN(l.ktoa[i & 1].hwcur) = x;
		CHECK(write(l.fds[i & 1].io, &one, 8) == 8);
		if (i % 10 == 0)
			check_path(&a, &b, 3, &seq, &seen);
	}
	stop(&l);
	close_port(&l.port);
	close_port(&a);
	close_port(&b);
}

/* Leaves the process with a loop in motion. */
static void left_running(void)
{
	struct looped l;
	open_looped(&l, "vale0:l");
	start(&l, 100, NULL);
	wait_running(&l);
}

/* For a test that ends the daemon: says how the loop ended. */
static void until_the_daemon_ends(void)
{
	struct looped l;
	open_looped(&l, "vale0:l");
	struct eventfds o = eventfds_of(&l);
	start(&l, 100, getenv("EVENTS") ? &o : NULL);
	wait_running(&l);
	say("ready");
	CHECK(pthread_join(l.thread, NULL) == 0);
	CHECK(l.result == -1 && l.error == ENXIO);
}

static const struct test_case cases[] = {
	{ "stop-before-start", stop_before_start },
	{ "stop-waits", stop_waits },
	{ "stopped-by-others", stopped_by_others },
	{ "signals-in-the-loop", signals_in_the_loop },
	{ "closed-while-it-runs", closed_while_it_runs },
	{ "the-looping-process-dies", the_looping_process_dies },
	{ "csb-unmapped", csb_unmapped },
	{ "wild-csb", wild_csb },
	{ "left-running", left_running },
};

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "until-the-daemon-ends") == 0) {
		until_the_daemon_ends();
		return 0;
	}
	return run_cases(argc, argv, cases, COUNT(cases));
}
