/*
 * What a descriptor of /dev/netmap must stand: fork, vfork, exec, dup, closing in every order.
 */
#include "robust.h"
#include <pthread.h>
#include <sys/syscall.h>

/* ---- fork ---- */

struct shared {
	pthread_mutex_t lock;
	uint64_t sent;
	/* how many have arrived: nobody sends more than a ring takes */
	_Atomic uint64_t arrived;
};

/* Sends `n` packets on a ring that another process uses too. */
static void send_shared(struct port *p, struct shared *s, unsigned n, unsigned sender)
{
	uint64_t own = 0;
	for (unsigned i = 0; i < n; i++) {
		CHECK(pthread_mutex_lock(&s->lock) == 0);
		while (s->sent - s->arrived > 500)
			sched_yield();
		CHECK(fill_ring(tx_ring(p, 0), 1, SHORTEST, 1, 0xff, sender, &own) == 1);
		CHECK(ioctl(p->fd, NIOCTXSYNC, NULL) == 0);
		s->sent++;
		CHECK(pthread_mutex_unlock(&s->lock) == 0);
	}
}

static struct shared *make_shared(void)
{
	struct shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t a;
	CHECK(s != MAP_FAILED);
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&s->lock, &a);
	return s;
}

/* Parent and child send on the same descriptor; the parent exits first and the child goes on. */
static void case_fork(void)
{
	enum { N = 2000 };
	struct port to = open_port("vale0:to");
	struct seen seen = { 0 };
	struct shared *s = make_shared();
	pid_t parent = fork();
	CHECK(parent >= 0);
	if (parent == 0) {
		int alive[2];
		struct port p = open_port("vale0:from");
		CHECK(pipe(alive) == 0);
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			char c;
			close(alive[1]);
			send_shared(&p, s, N, 2);
			/* the parent has exited when its end of the pipe is closed */
			CHECK(read(alive[0], &c, 1) == 0);
			send_shared(&p, s, N, 3);
			_exit(0);
		}
		send_shared(&p, s, N, 1);
		_exit(0);
	}
	/* the grandchild is not ours to wait for: its packets say that it is done */
	while (seen.packets < 3 * N) {
		if (take_now(&to, &seen) == 0)
			sched_yield();
		s->arrived = seen.packets;
	}
	CHECK(seen.next[1] == N && seen.next[2] == N && seen.next[3] == N && seen.lost == 0);
	wait_child(parent);
	while (!is_free("vale0:from"))
		usleep(1000);
}

/* A child that receives on the inherited descriptor while the parent sleeps in poll on it: both hear of packets. */
static void case_fork_both_sleep(void)
{
	struct port a = open_port("vale0:a"), b = open_port("vale0:b");
	uint64_t seq = 0;
	int ready[2];
	char c = 0;
	CHECK(pipe(ready) == 0);
	pid_t children[2];
	for (int i = 0; i < 2; i++) {
		children[i] = fork();
		CHECK(children[i] >= 0);
		if (children[i] == 0) {
			CHECK(write(ready[1], &c, 1) == 1);
			/* nobody takes the packet, so both see it */
			CHECK(poll_now(b.fd, POLLIN, NEVER) == POLLIN);
			_exit(0);
		}
	}
	CHECK(read(ready[0], &c, 1) == 1 && read(ready[0], &c, 1) == 1);
	usleep(100000);
	send_one(&a, 0xff, 1, &seq);
	wait_child(children[0]);
	wait_child(children[1]);
}

/* The child binds a descriptor that the parent opened; the parent then maps and uses it. */
static void case_child_binds(void)
{
	struct port like = open_port("vale0:like"), p = like;
	struct seen seen = { 0 };
	uint64_t seq = 0;
	p.fd = open("/dev/netmap", O_RDWR);
	CHECK(p.fd >= 0);
	struct shared { struct nmreq_register reg; } *s =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(s != MAP_FAILED);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		s->reg.nr_mode = NR_REG_ALL_NIC;
		CHECK(bind_to(p.fd, "vale0:bound", &s->reg) == 0);
		_exit(0);
	}
	wait_child(child);
	p.reg = s->reg;
	errno = map_port(&p);
	CHECK(errno == 0);
	check_path(&p, &like, 1, &seq, &seen);
	struct nmreq_register again = { .nr_mode = NR_REG_ALL_NIC };
	CHECK(bind_to(p.fd, "vale0:other", &again) == EBUSY);
}

/* ---- exec ---- */

static const char exec_name[] = "vale0:exec";

/* The program that inherits: polls at once, before it knows anything about the descriptor. */
static void after_exec(int fd)
{
	struct port like, p;
	struct seen seen = { 0 };
	CHECK(poll_now(fd, POLLIN, NEVER) == POLLIN);
	/* a second descriptor of the same port tells the layout */
	like = open_port(exec_name);
	p = like;
	p.fd = fd;
	p.mem = mmap(NULL, p.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(p.mem != MAP_FAILED);
	p.nif = NETMAP_IF(p.mem, p.reg.nr_offset);
	CHECK(take_now(&p, &seen) == 1);
}

static void exec_with(pid_t (*make_child)(void))
{
	struct port from = open_port("vale0:from"), p = open_port(exec_name);
	uint64_t seq = 0;
	pid_t child = make_child();
	CHECK(child >= 0);
	if (child == 0)
		run_self("--after-exec", p.fd);
	close_port(&p);
	CHECK(!is_free(exec_name));
	send_one(&from, 0xff, 1, &seq);
	wait_child(child);
	CHECK(is_free(exec_name));
}

static void case_fork_exec(void)
{
	exec_with(fork);
}

static void case_vfork_exec(void)
{
	struct port from = open_port("vale0:from"), p = open_port(exec_name);
	uint64_t seq = 0;
	char number[16];
	snprintf(number, sizeof number, "%d", p.fd);
	for (int i = 0; i < 20; i++) {
		pid_t child = vfork();
		if (child == 0) {
			/* what shells do between vfork and exec */
			close(from.fd);
			dup2(p.fd, 100);
			execl("/proc/self/exe", "descriptors", "--is-device", "100", (char *)NULL);
			_exit(127);
		}
		CHECK(child > 0);
		wait_child(child);
		/* the parent's own descriptors are as they were */
		struct seen seen = { 0 };
		check_path(&from, &p, 1, &seq, &seen);
	}
	CHECK(poll_now(100, POLLIN, 0) == POLLNVAL);
}

static void is_device(int fd)
{
	CHECK(ioctl(fd, NIOCRXSYNC, NULL) == 0);
	CHECK(poll_now(fd, POLLOUT, NEVER) == POLLOUT);
}

static void case_cloexec(void)
{
	struct port p;
	memset(&p, 0, sizeof p);
	CHECK(try_port(&p, exec_name, O_CLOEXEC) == 0);
	CHECK(fcntl(p.fd, F_GETFD) == FD_CLOEXEC);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0)
		run_self("--is-closed", p.fd);
	wait_child(child);
	close_port(&p);
	CHECK(is_free(exec_name));
	p = open_port(exec_name);
	CHECK(fcntl(p.fd, F_GETFD) == 0);
	CHECK(ioctl(p.fd, FIOCLEX) == 0 && fcntl(p.fd, F_GETFD) == FD_CLOEXEC);
	CHECK(ioctl(p.fd, FIONCLEX) == 0 && fcntl(p.fd, F_GETFD) == 0);
}

static void is_closed(int fd)
{
	CHECK(fcntl(fd, F_GETFD) == -1 && errno == EBADF);
}

static void case_nonblock(void)
{
	struct port p, from = open_port("vale0:from");
	uint64_t seq = 0;
	struct seen seen = { 0 };
	memset(&p, 0, sizeof p);
	CHECK(try_port(&p, "vale0:nb", O_NONBLOCK) == 0);
	CHECK((fcntl(p.fd, F_GETFL) & (O_NONBLOCK | O_ACCMODE)) == (O_NONBLOCK | O_RDWR));
	check_path(&from, &p, 1, &seq, &seen);
	CHECK(poll_now(p.fd, POLLIN, 10) == 0);
	CHECK(fcntl(p.fd, F_SETFL, 0) == 0 && (fcntl(p.fd, F_GETFL) & O_NONBLOCK) == 0);
	int on = 1;
	CHECK(ioctl(p.fd, FIONBIO, &on) == 0 && (fcntl(p.fd, F_GETFL) & O_NONBLOCK) != 0);
	check_path(&from, &p, 1, &seq, &seen);
	int fd = open("/dev/netmap", O_RDONLY);
	CHECK(fd >= 0 && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
}

/* ---- dup and close ---- */

static int nth_dup(int fd, int way)
{
	switch (way) {
	case 0: return dup(fd);
	case 1: return dup2(fd, 200);
	case 2: return dup3(fd, 201, O_CLOEXEC);
	case 3: return fcntl(fd, F_DUPFD, 202);
	default: return fcntl(fd, F_DUPFD_CLOEXEC, 203);
	}
}

/* Every order of closing four out of six descriptors of one description. */
static void case_dup_orders(void)
{
	struct port from = open_port("vale0:from");
	uint64_t seq = 0;
	struct seen seen = { 0 };
	for (int order = 0; order < 24; order++) {
		struct port p = open_port("vale0:dup");
		int fds[4], left[4] = { 0, 1, 2, 3 }, code = order;
		fds[0] = p.fd;
		for (int i = 1; i < 4; i++) {
			fds[i] = nth_dup(p.fd, (order + i) % 5);
			CHECK(fds[i] >= 0);
		}
		for (int n = 4; n > 0; n--) {
			int at = code % n;
			code /= n;
			for (int i = 0; i < n; i++) {
				p.fd = fds[left[i]];
				check_path(&from, &p, 1, &seq, &seen);
				CHECK(poll_now(p.fd, POLLIN, 0) == 0);
			}
			CHECK(!is_free("vale0:dup"));
			CHECK(close(fds[left[at]]) == 0);
			CHECK(poll_now(fds[left[at]], POLLIN, 0) == POLLNVAL);
			left[at] = left[n - 1];
		}
		CHECK(!is_free("vale0:dup"));
		munmap(p.mem, p.size);
		CHECK(is_free("vale0:dup"));
	}
}

/* dup2 over a device closes it; dup2 of a device over an ordinary one makes that one a device. */
static void case_dup2_over(void)
{
	struct port from = open_port("vale0:from"), a = open_port("vale0:a"), b = open_port("vale0:b");
	uint64_t seq = 0;
	struct seen seen = { 0 };
	int file = open("/dev/null", O_RDWR);
	CHECK(dup2(b.fd, a.fd) == a.fd);
	munmap(a.mem, a.size);
	CHECK(is_free("vale0:a"));
	CHECK(dup2(file, b.fd) == b.fd);
	CHECK(ioctl(b.fd, NIOCRXSYNC, NULL) == -1 && errno == ENOTTY);
	struct port moved = b;
	moved.fd = a.fd;
	check_path(&from, &moved, 1, &seq, &seen);
	CHECK(dup2(a.fd, a.fd) == a.fd);
	check_path(&from, &moved, 1, &seq, &seen);
	CHECK(dup2(file, a.fd) == a.fd);
	munmap(b.mem, b.size);
	CHECK(is_free("vale0:b"));
	CHECK(dup2(a.fd, -1) == -1 && errno == EBADF);
}

static void case_close_twice(void)
{
	struct port p = open_port("vale0:twice");
	int number = p.fd, pair[2];
	char c = 'x';
	CHECK(close(number) == 0);
	CHECK(!is_free("vale0:twice"));
	CHECK(close(number) == -1 && errno == EBADF);
	CHECK(ioctl(number, NIOCRXSYNC, NULL) == -1 && errno == EBADF);
	CHECK(poll_now(number, POLLIN, 0) == POLLNVAL);
	/* the number belongs to something ordinary now */
	CHECK(pipe(pair) == 0);
	if (pair[0] != number) {
		CHECK(dup2(pair[0], number) == number);
	}
	CHECK(poll_now(number, POLLIN, 0) == 0);
	CHECK(write(pair[1], &c, 1) == 1);
	CHECK(poll_now(number, POLLIN, NEVER) == POLLIN);
	CHECK(ioctl(number, NIOCRXSYNC, NULL) == -1 && errno == ENOTTY);
	CHECK(read(number, &c, 1) == 1);
	/* the mapping of the closed one stays readable, and keeps the port */
	CHECK(tx_ring(&p, 0)->num_slots > 0);
	CHECK(!is_free("vale0:twice"));
	munmap(p.mem, p.size);
	CHECK(is_free("vale0:twice"));
}

/* A sleeper in another process must be woken by whoever has closed everything before. */
static void wake_somebody(void)
{
	int ready[2];
	char c = 0;
	CHECK(pipe(ready) == 0);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		struct port p = open_port("vale0:sleeper");
		CHECK(write(ready[1], &c, 1) == 1);
		CHECK(poll_now(p.fd, POLLIN, NEVER) == POLLIN);
		_exit(0);
	}
	CHECK(read(ready[0], &c, 1) == 1);
	struct port from = open_port("vale0:from");
	uint64_t seq = 0;
	int status;
	/* until it has heard: the sleeper may not have been asleep yet, but then the packet is there */
	send_one(&from, 0xff, 1, &seq);
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	close_port(&from);
	close(ready[0]);
	close(ready[1]);
}

static void use_all(void)
{
	struct port a = open_port("vale0:a"), b = open_port("vale0:b");
	uint64_t seq = 0;
	struct seen seen = { 0 };
	check_path(&a, &b, 1, &seq, &seen);
	check_path(&b, &a, 2, &seq, &seen);
	close_port(&a);
	close_port(&b);
	wake_somebody();
}

static void case_close_everything(void)
{
	use_all();
	closefrom(3);
	use_all();
	for (int i = 3; i < 1024; i++)
		close(i);
	use_all();
	CHECK(close_range(3, ~0u, 0) == 0);
	use_all();
	CHECK(syscall(SYS_close_range, 3u, ~0u, 0u) == 0);
	use_all();
	/* also while a port is open, as daemons do that fork first */
	struct port p = open_port("vale0:left");
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		setsid();
		closefrom(3);
		use_all();
		_exit(0);
	}
	wait_child(child);
	CHECK(ioctl(p.fd, NIOCRXSYNC, NULL) == 0);
	closefrom(3);
	CHECK(!is_free("vale0:left"));
	munmap(p.mem, p.size);
	CHECK(is_free("vale0:left"));
}

/*
 * After a program has closed everything it may use every number. Whatever it opens then is its own: no wake-up
 * of ours may end up in it.
 */
static void case_numbers_stay_the_programs(void)
{
	int ready[2], pair[2];
	char c = 0, bytes[16];
	uint64_t seq = 0;
	CHECK(pipe(ready) == 0);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		struct port p = open_port("vale0:sleeper");
		struct seen seen = { 0 };
		CHECK(write(ready[1], &c, 1) == 1);
		while (seen.packets < 50) {
			CHECK(poll_now(p.fd, POLLIN, NEVER) == POLLIN);
			empty_ring(rx_ring(&p, 0), 1, &seen, 0);
		}
		_exit(0);
	}
	CHECK(read(ready[0], &c, 1) == 1);
	struct port from = open_port("vale0:from");
	for (int i = 0; i < 20; i++) {
		/* long enough apart that it sleeps: it is woken through a descriptor of ours */
		usleep(20000);
		send_one(&from, 0xff, 1, &seq);
	}
	munmap(from.mem, from.size);
	closefrom(3);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	/* the program's own connection on every number it may have */
	for (int number = pair[1] + 1; number < 1024; number++)
		if (dup2(pair[0], number) < 0)
			CHECK(errno == EBADF);
	close(pair[1] + 1);
	from = open_port("vale0:from");
	for (int i = 0; i < 30; i++) {
		usleep(20000);
		send_one(&from, 0xff, 1, &seq);
	}
	CHECK(recv(pair[1], bytes, sizeof bytes, MSG_DONTWAIT) == -1 && errno == EAGAIN);
	wait_child(child);
	CHECK(send(pair[1], "hello", 5, 0) == 5 && recv(pair[0], bytes, sizeof bytes, 0) == 5);
}

/* ---- */

static const struct test_case cases[] = {
	{ "fork", case_fork },
	{ "fork-both-sleep", case_fork_both_sleep },
	{ "child-binds", case_child_binds },
	{ "fork-exec", case_fork_exec },
	{ "vfork-exec", case_vfork_exec },
	{ "cloexec", case_cloexec },
	{ "nonblock", case_nonblock },
	{ "dup-orders", case_dup_orders },
	{ "dup2-over", case_dup2_over },
	{ "close-twice", case_close_twice },
	{ "close-everything", case_close_everything },
	{ "numbers-stay-the-programs", case_numbers_stay_the_programs },
};

static const struct test_part parts[] = {
	{ "--after-exec", after_exec },
	{ "--is-device", is_device },
	{ "--is-closed", is_closed },
};

int main(int argc, char **argv)
{
	if (run_part(argc, argv, parts, COUNT(parts)))
		return 0;
	return run_cases(argc, argv, cases, COUNT(cases));
}
