/*
 * Threads, signals and forks of threaded programs on descriptors of /dev/netmap.
 */
#include "robust.h"
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/time.h>

/* Packets of a flow. */
enum { PACKETS = 20000 };
/* Seconds after which a child counts as hanging; nothing here takes one. */
enum { HANGS = 60 };

static pthread_t start(void *(*run)(void *), void *argument)
{
	pthread_t t;
	CHECK(pthread_create(&t, NULL, run, argument) == 0);
	return t;
}

static void join(pthread_t t)
{
	CHECK(pthread_join(t, NULL) == 0);
}

static struct port open_with(const char *name, unsigned rings, int ring, uint64_t flags)
{
	struct port p;
	memset(&p, 0, sizeof p);
	p.reg.nr_tx_rings = p.reg.nr_rx_rings = (uint16_t)rings;
	p.reg.nr_flags = flags;
	if (ring >= 0) {
		p.reg.nr_mode = NR_REG_ONE_NIC;
		p.reg.nr_ringid = (uint16_t)ring;
	}
	errno = try_port(&p, name, 0);
	CHECK(errno == 0);
	return p;
}

/* ---- flows: a sender that stays so little ahead of its receiver that nothing is dropped: what the receiver has
 * emptied takes up room until it syncs again, so that twice the lead has to fit into a ring of 1024 ---- */

enum { BATCH = 50, LEAD = 400 };

struct flow {
	struct port tx, rx;
	unsigned ring, sender, to;
	const char *how;
	atomic_uint_fast64_t arrived;
	atomic_int done;
};

static void *send_flow(void *argument)
{
	struct flow *f = argument;
	uint64_t seq = 0;
	while (seq < PACKETS) {
		uint64_t ahead = seq - atomic_load(&f->arrived);
		if (ahead > LEAD) {
			sched_yield();
			continue;
		}
		unsigned most = PACKETS - seq < BATCH ? (unsigned)(PACKETS - seq) : BATCH;
		fill_ring(tx_ring(&f->tx, f->ring), most, SHORTEST, 1, f->to, f->sender, &seq);
		CHECK(ioctl(f->tx.fd, NIOCTXSYNC, NULL) == 0);
	}
	return NULL;
}

static void *receive_flow(void *argument)
{
	struct flow *f = argument;
	struct seen seen = { 0 };
	while (seen.packets < PACKETS) {
		if (f->how != NULL && strcmp(f->how, "poll") == 0)
			CHECK(poll_now(f->rx.fd, POLLIN, NEVER) == POLLIN);
		else
			CHECK(ioctl(f->rx.fd, NIOCRXSYNC, NULL) == 0);
		if (empty_ring(rx_ring(&f->rx, f->ring), ~0u, &seen, 0) == 0)
			sched_yield();
		atomic_store(&f->arrived, seen.packets);
	}
	CHECK(seen.next[f->sender] == PACKETS && seen.lost == 0);
	atomic_store(&f->done, 1);
	return NULL;
}

static void two_rings(int one_descriptor)
{
	static struct flow flows[2];
	pthread_t t[4];
	struct port a = open_with("vale0:a", 2, -1, 0), b = open_with("vale0:b", 2, -1, 0);
	uint64_t seq = 0;
	/* b is known by its address: then ring 1 leads to ring 1, where broadcasts would lead to ring 0 */
	send_one(&b, 0xff, 9, &seq);
	for (int i = 0; i < 2; i++) {
		struct port tx = one_descriptor ? a : open_with("vale0:a", 2, i, 0);
		struct port rx = one_descriptor ? b : open_with("vale0:b", 2, i, 0);
		flows[i] = (struct flow){ .tx = tx, .rx = rx, .ring = (unsigned)i, .sender = (unsigned)i + 1, .to = 9 };
		t[i] = start(receive_flow, &flows[i]);
	}
	for (int i = 0; i < 2; i++)
		t[2 + i] = start(send_flow, &flows[i]);
	for (int i = 0; i < 4; i++)
		join(t[i]);
}

static void case_two_rings_one_descriptor(void)
{
	two_rings(1);
}

static void case_two_rings_two_descriptors(void)
{
	two_rings(0);
}

/* Threads that only sync what another thread fills and empties. */
static void *sync_tx(void *argument)
{
	struct flow *f = argument;
	while (!atomic_load(&f->done))
		CHECK(ioctl(f->tx.fd, NIOCTXSYNC, NULL) == 0);
	return NULL;
}

static void *poll_both(void *argument)
{
	struct flow *f = argument;
	while (!atomic_load(&f->done)) {
		poll_now(f->rx.fd, POLLIN, 1);
		poll_now(f->tx.fd, POLLOUT, 1);
	}
	return NULL;
}

static void case_same_ring(void)
{
	static struct flow flow;
	flow = (struct flow){ .tx = open_port("vale0:a"), .rx = open_port("vale0:b"), .sender = 1, .to = 0xff };
	/* only the syncing of rx by others is left out: a sync may move tail while head is being decided on, which
	 * is allowed, so it is in */
	pthread_t t[] = {
		start(receive_flow, &flow), start(sync_tx, &flow), start(sync_tx, &flow),
		start(poll_both, &flow), start(send_flow, &flow),
	};
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
		join(t[i]);
}

/* One port, one descriptor for each direction, one thread for each. */
static void case_sides(void)
{
	static struct flow flows[2];
	const char *names[2] = { "vale0:a", "vale0:b" };
	struct port tx[2], rx[2];
	uint64_t seq = 0;
	for (int i = 0; i < 2; i++) {
		rx[i] = open_with(names[i], 0, -1, NR_RX_RINGS_ONLY);
		tx[i] = open_with(names[i], 0, -1, NR_TX_RINGS_ONLY | NR_NO_TX_POLL);
		CHECK(rx[i].reg.nr_mem_id == tx[i].reg.nr_mem_id);
	}
	for (int i = 0; i < 2; i++)
		send_one(&tx[i], 0xff, 20u + (unsigned)i, &seq);
	for (int i = 0; i < 2; i++) {
		struct seen seen = { 0 };
		CHECK(take_now(&rx[i], &seen) <= 1);
	}
	pthread_t t[4];
	for (int i = 0; i < 2; i++) {
		flows[i] = (struct flow){ .tx = tx[i], .rx = rx[1 - i], .sender = (unsigned)i + 1,
					  .to = 20u + (unsigned)(1 - i), .how = "poll" };
		t[i] = start(receive_flow, &flows[i]);
	}
	for (int i = 0; i < 2; i++)
		t[2 + i] = start(send_flow, &flows[i]);
	for (int i = 0; i < 4; i++)
		join(t[i]);
}

/* ---- sleeping ---- */

static atomic_int asleep, awake;

static void *sleep_in_poll(void *argument)
{
	int fd = *(int *)argument;
	atomic_fetch_add(&asleep, 1);
	short revents = poll_now(fd, POLLIN, NEVER);
	if (revents != POLLIN) {
		say("FAILED woken with revents 0x%x", revents);
		_exit(1);
	}
	atomic_fetch_add(&awake, 1);
	return NULL;
}

static void let_them_sleep(int n)
{
	while (atomic_load(&asleep) < n)
		usleep(1000);
	/* if one of them is late it finds the packet at once, which is right as well */
	usleep(50000);
}

/* Nobody takes the packet, so it is news to each of them. */
static void case_poll_same_descriptor(void)
{
	struct port a = open_port("vale0:a"), b = open_port("vale0:b");
	uint64_t seq = 0;
	struct seen seen = { 0 };
	for (int round = 0; round < 20; round++) {
		pthread_t t[3];
		asleep = 0;
		for (int i = 0; i < 3; i++)
			t[i] = start(sleep_in_poll, &b.fd);
		let_them_sleep(3);
		send_one(&a, 0xff, 1, &seq);
		for (int i = 0; i < 3; i++)
			join(t[i]);
		CHECK(take_now(&b, &seen) == 1);
	}
}

/* More descriptors on one port than can be woken one by one. */
static void case_seventy_descriptors(void)
{
	enum { N = 70 };
	struct port from = open_port("vale0:from");
	static struct port p[N];
	pthread_t t[N];
	uint64_t seq = 0;
	asleep = 0;
	/* each has a netmap_if of its own in the port's memory, of which there are ten */
	int n = 0;
	for (; n < N; n++) {
		memset(&p[n], 0, sizeof p[n]);
		p[n].reg.nr_mem_id = 1;
		errno = try_port(&p[n], "vale0:many", 0);
		CHECK(errno == 0);
	}
	for (int i = 0; i < n; i++)
		t[i] = start(sleep_in_poll, &p[i].fd);
	let_them_sleep(n);
	send_one(&from, 0xff, 1, &seq);
	for (int i = 0; i < n; i++)
		join(t[i]);
}

static void *sleep_until_something(void *argument)
{
	atomic_fetch_add(&asleep, 1);
	CHECK(poll_now(*(int *)argument, POLLIN, NEVER) != 0);
	return NULL;
}

/*
 * As in the kernel the one who polls keeps the port until it returns; it may find the port gone then. The number
 * may be used for something else meanwhile, which must not notice anything.
 */
static void case_close_while_polling(void)
{
	struct port from = open_port("vale0:from");
	uint64_t seq = 0;
	for (int round = 0; round < 20; round++) {
		struct port p = open_port("vale0:p");
		int number = p.fd, pair[2];
		char bytes[8];
		asleep = 0;
		pthread_t t = start(sleep_until_something, &number);
		let_them_sleep(1);
		CHECK(close(p.fd) == 0);
		CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
		CHECK(pair[0] == number);
		CHECK(send(pair[1], "own", 3, 0) == 3);
		send_one(&from, 0xff, 1, &seq);
		join(t);
		CHECK(recv(pair[0], bytes, sizeof bytes, MSG_DONTWAIT) == 3);
		CHECK(recv(pair[1], bytes, sizeof bytes, MSG_DONTWAIT) == -1 && errno == EAGAIN);
		close(pair[0]);
		close(pair[1]);
		munmap(p.mem, p.size);
		/* the thread has returned: the port is gone */
		struct port again = open_with("vale0:p", 0, -1, NR_EXCLUSIVE);
		close_port(&again);
	}
}

static void *sleep_for_a_packet(void *argument)
{
	struct pollfd f = { .fd = *(int *)argument, .events = POLLIN };
	atomic_fetch_add(&asleep, 1);
	CHECK(poll(&f, 1, NEVER) == 1 && f.revents == POLLIN);
	atomic_fetch_add(&awake, 1);
	return NULL;
}

/*
 * The number that a thread polls is closed and becomes something else, while the port stays open under another one:
 * the thread goes on waiting for the port, however often it looks again, and what has the number now is left alone.
 */
static void case_number_reused_while_polling(void)
{
	struct port from = open_port("vale0:from"), p = open_port("vale0:p");
	int number = p.fd, other = dup(p.fd), pair[2];
	char bytes[8];
	uint64_t seq = 0;
	struct seen seen = { 0 };
	CHECK(other >= 0);
	for (int round = 0; round < 2; round++) {
		atomic_store(&asleep, 0);
		atomic_store(&awake, 0);
		pthread_t t = start(sleep_for_a_packet, &number);
		let_them_sleep(1);
		CHECK(close(number) == 0);
		CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0 && pair[0] == number);
		CHECK(send(pair[1], "own", 3, 0) == 3);
		/* longer than the shim sleeps at a time */
		usleep(1500000);
		CHECK(atomic_load(&awake) == 0);
		CHECK(recv(pair[0], bytes, sizeof bytes, MSG_DONTWAIT) == 3);
		if (round == 1)
			close(pair[0]);
		send_one(&from, 0xff, 1, &seq);
		join(t);
		if (round == 0)
			close(pair[0]);
		close(pair[1]);
		p.fd = other;
		CHECK(take_now(&p, &seen) == 1);
		CHECK(dup2(other, number) == number);
	}
}

/* Threads cancelled in poll leave nothing behind that would keep others from waking up. */
static void case_cancel_in_poll(void)
{
	struct port a = open_port("vale0:a"), b = open_port("vale0:b");
	uint64_t seq = 0;
	struct seen seen = { 0 };
	for (int round = 0; round < 100; round++) {
		void *result;
		asleep = 0;
		pthread_t t = start(sleep_in_poll, &b.fd);
		while (atomic_load(&asleep) < 1)
			sched_yield();
		if (round & 1)
			usleep(2000);
		CHECK(pthread_cancel(t) == 0);
		CHECK(pthread_join(t, &result) == 0 && result == PTHREAD_CANCELED);
	}
	asleep = 0;
	pthread_t t = start(sleep_in_poll, &b.fd);
	let_them_sleep(1);
	send_one(&a, 0xff, 1, &seq);
	join(t);
	CHECK(take_now(&b, &seen) == 1);
}

/* ---- fork of a threaded program: what the child may call, open, close, ioctl, poll, works there ---- */

static atomic_int stop;

static void *open_and_close(void *nothing)
{
	while (!atomic_load(&stop)) {
		struct port p = open_port("vale1:busy");
		close_port(&p);
	}
	return nothing;
}

static void forked_children(int n, void (*child)(void *), void *argument)
{
	for (int i = 0; i < n; i++) {
		pid_t pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			alarm(HANGS);
			child(argument);
			_exit(0);
		}
		wait_child(pid);
	}
}

static void open_two(void *nothing)
{
	(void)nothing;
	struct port a = open_port("vale0:a"), b = open_port("vale0:b");
	uint64_t seq = 0;
	struct seen seen = { 0 };
	check_path(&a, &b, 1, &seq, &seen);
}

static void case_fork_while_others_open(void)
{
	pthread_t t[2] = { start(open_and_close, NULL), start(open_and_close, NULL) };
	forked_children(200, open_two, NULL);
	atomic_store(&stop, 1);
	join(t[0]);
	join(t[1]);
}

static void *flood(void *argument)
{
	struct flow *f = argument;
	uint64_t seq = 0;
	while (!atomic_load(&stop)) {
		fill_ring(tx_ring(&f->tx, 0), 300, SHORTEST, 1, f->to, f->sender, &seq);
		CHECK(ioctl(f->tx.fd, NIOCTXSYNC, NULL) == 0);
	}
	return NULL;
}

static void *drain(void *argument)
{
	struct flow *f = argument;
	struct seen seen = { 0 };
	while (!atomic_load(&stop)) {
		CHECK(ioctl(f->rx.fd, NIOCRXSYNC, NULL) == 0);
		empty_ring(rx_ring(&f->rx, 0), ~0u, &seen, 0);
	}
	CHECK(seen.packets > 0);
	return NULL;
}

static void sync_inherited(void *argument)
{
	struct flow *f = argument;
	for (int i = 0; i < 300; i++) {
		CHECK(ioctl(f->tx.fd, NIOCTXSYNC, NULL) == 0);
		CHECK(ioctl(f->rx.fd, NIOCRXSYNC, NULL) == 0);
	}
}

/* A thread is in the middle of a sync when the program forks; the child syncs the same rings. */
static void case_fork_while_others_sync(void)
{
	static struct flow flow;
	flow = (struct flow){ .tx = open_port("vale0:a"), .rx = open_port("vale0:b"), .sender = 1, .to = 0xff };
	pthread_t t[2] = { start(flood, &flow), start(drain, &flow) };
	forked_children(200, sync_inherited, &flow);
	atomic_store(&stop, 1);
	join(t[0]);
	join(t[1]);
}

/* Reads past the end of a directory that exists only in the shim. */
static void *list_parameters(void *nothing)
{
	DIR *dir = opendir("/sys/module/netmap/parameters");
	CHECK(dir != NULL);
	while (!atomic_load(&stop))
		readdir(dir);
	closedir(dir);
	return nothing;
}

static void list_in_child(void *nothing)
{
	(void)nothing;
	DIR *dir = opendir("/sys/module/netmap/parameters");
	CHECK(dir != NULL && readdir(dir) != NULL && closedir(dir) == 0);
}

static void case_fork_while_others_list(void)
{
	struct port p = open_port("vale0:p");
	pthread_t t[2] = { start(list_parameters, NULL), start(list_parameters, NULL) };
	forked_children(50, list_in_child, NULL);
	atomic_store(&stop, 1);
	join(t[0]);
	join(t[1]);
	close_port(&p);
}

/* ---- signals ---- */

static struct port signal_port;
static atomic_int signals;

/* ioctl and poll may be called from handlers; the kernel never runs one in the middle of a sync. */
static void sync_in_handler(int signal)
{
	(void)signal;
	int kept = errno;
	CHECK(ioctl(signal_port.fd, NIOCTXSYNC, NULL) == 0);
	CHECK(ioctl(signal_port.fd, NIOCRXSYNC, NULL) == 0);
	struct pollfd f = { .fd = signal_port.fd, .events = POLLIN };
	CHECK(poll(&f, 1, 0) >= 0);
	atomic_fetch_add(&signals, 1);
	errno = kept;
}

static void every_millisecond(void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
	struct itimerval interval = { { 0, 1000 }, { 0, 1000 } };
	CHECK(sigaction(SIGALRM, &action, NULL) == 0);
	CHECK(setitimer(ITIMER_REAL, &interval, NULL) == 0);
}

static void case_sync_in_a_signal_handler(void)
{
	struct port sink = open_port("vale0:sink");
	struct seen seen = { 0 };
	uint64_t seq = 0;
	signal_port = open_port("vale0:p");
	every_millisecond(sync_in_handler);
	while (atomic_load(&signals) < 2000) {
		fill_ring(tx_ring(&signal_port, 0), 300, SHORTEST, 1, 0xff, 1, &seq);
		CHECK(ioctl(signal_port.fd, NIOCTXSYNC, NULL) == 0);
		CHECK(ioctl(signal_port.fd, NIOCRXSYNC, NULL) == 0);
		take_now(&sink, &seen);
	}
	CHECK(seen.packets > 0);
}

/* Signals end a poll with EINTR, however often, and the next poll works. */
static void count_signal(int signal)
{
	(void)signal;
	atomic_fetch_add(&signals, 1);
}

static void case_poll_is_interrupted(void)
{
	struct port from = open_port("vale0:from"), p = open_port("vale0:p");
	struct pollfd f = { .fd = p.fd, .events = POLLIN };
	uint64_t seq = 0;
	every_millisecond(count_signal);
	for (int i = 0; i < 500; i++)
		CHECK(poll(&f, 1, NEVER) == -1 && errno == EINTR);
	struct itimerval off = { 0 };
	CHECK(setitimer(ITIMER_REAL, &off, NULL) == 0);
	send_one(&from, 0xff, 1, &seq);
	CHECK(poll(&f, 1, NEVER) == 1 && f.revents == POLLIN);
}

/* ---- */

static const struct test_case cases[] = {
	{ "two-rings-one-descriptor", case_two_rings_one_descriptor },
	{ "two-rings-two-descriptors", case_two_rings_two_descriptors },
	{ "same-ring", case_same_ring },
	{ "sides", case_sides },
	{ "poll-same-descriptor", case_poll_same_descriptor },
	{ "seventy-descriptors", case_seventy_descriptors },
	{ "close-while-polling", case_close_while_polling },
	{ "number-reused-while-polling", case_number_reused_while_polling },
	{ "cancel-in-poll", case_cancel_in_poll },
	{ "fork-while-others-open", case_fork_while_others_open },
	{ "fork-while-others-sync", case_fork_while_others_sync },
	{ "fork-while-others-list", case_fork_while_others_list },
	{ "sync-in-a-signal-handler", case_sync_in_a_signal_handler },
	{ "poll-is-interrupted", case_poll_is_interrupted },
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, cases, COUNT(cases));
}
