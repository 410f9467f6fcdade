/* One open file, many descriptors: dup, fork, exec, SCM_RIGHTS, and the last close that ends the binding. */
#include "scenario.h"

static int is_there(const char *name)
{
	struct nmreq_port_hdr hdr = { 0 };
	return request(NETMAP_REQ_PORT_HDR_GET, name, &hdr) == 0;
}

static int sync_fd(int fd)
{
	return ERROR_OF(ioctl(fd, NIOCTXSYNC, NULL));
}

/* Runs `body` in a child that ends with the value it gives, and gives that. */
#define IN_CHILD(body) ({ \
	int status_ = 0; \
	pid_t child_ = fork(); \
	if (child_ == 0) { begin_time_limit(); _exit(body); } \
	waitpid(child_, &status_, 0); \
	WIFEXITED(status_) ? WEXITSTATUS(status_) : 1000 + WTERMSIG(status_); \
})

static void dups(void)
{
	MUST_OPEN(p, "valed:a");
	int other = dup(p.fd), third = fcntl(p.fd, F_DUPFD, 100);
	fact_error("dup", sync_fd(other));
	fact_error("dupfd", sync_fd(third));
	close(p.fd);
	fact("after_first_close", "%s there %d", error_name(sync_fd(other)), is_there("valed:a"));
	close(other);
	fact("after_second_close", "%s there %d", error_name(sync_fd(third)), is_there("valed:a"));
	void *again = mmap(NULL, 4096, PROT_READ, MAP_SHARED, third, 0);
	fact_error("mmap_third", again == MAP_FAILED ? errno : 0);
	fact("poll_third", "%s", poll_result(third, POLLOUT, 0));
	close(third);
	fact("after_last_close", "%s there %d", error_name(sync_fd(third)), is_there("valed:a"));
	/* the mapping outlives every descriptor */
	fact("mapping", "%u", txring(&p, 0)->num_slots);
}

static void dup_over(void)
{
	MUST_OPEN(a, "valed:a");
	MUST_OPEN(b, "valed:b");
	fact("dup2", "%d", dup2(a.fd, b.fd) == b.fd);
	fact("b_gone", "%d", !is_there("valed:b"));
	put(&a, 1);
	fact_error("sync_by_b", sync_fd(b.fd));
	fact_ring("a_tx", txring(&a, 0));
	int plain = open("/dev/null", O_RDWR);
	fact("null_over", "%d", dup2(plain, a.fd) == a.fd);
	fact_error("null_ioctl", sync_fd(a.fd));
	fact("a_there", "%d", is_there("valed:a"));
	fact("null_over_last", "%d", dup2(plain, b.fd) == b.fd);
	fact("a_gone", "%d", !is_there("valed:a"));
}

static void forks(void)
{
	MUST_OPEN(a, "valed:a");
	MUST_OPEN(b, "valed:b");
	fact("child_sends", "%d", IN_CHILD(({ put(&a, 0x11); sync_fd(a.fd); })));
	fact_received("parent_receives", &b, 0);
	fact_ring("a_tx", txring(&a, 0));
	drain(&b);
	fact("child_closes", "%d", IN_CHILD(({ close(a.fd); 0; })));
	fact("still_there", "%d", is_there("valed:a"));
	/* a binding made by the child on an open file of the parent is the parent's too */
	int fd = open_device();
	fact("child_binds", "%d", IN_CHILD(({ struct nmreq_register r = { .nr_mode = NR_REG_ALL_NIC };
		request_on(fd, NETMAP_REQ_REGISTER, "valed:c", &r); })));
	fact("parent_has_it", "%s there %d", error_name(sync_fd(fd)), is_there("valed:c"));
	/* a child that outlives the parent's close keeps the port */
	int go[2], up[2];
	char byte = 0;
	NEED(pipe(go) == 0 && pipe(up) == 0);
	pid_t keeper = fork();
	if (keeper == 0) {
		close(go[1]);
		if (write(up[1], "", 1) == 1 && read(go[0], &byte, 1) >= 0)
			_exit(0);
		_exit(1);
	}
	NEED(read(up[0], &byte, 1) == 1);
	close(fd);
	fact("kept_by_child", "%d", is_there("valed:c"));
	close(go[1]);
	waitpid(keeper, NULL, 0);
	fact("gone_with_child", "%d", !is_there("valed:c"));
	/* children that are killed */
	fd = open_device();
	pid_t killed = fork();
	if (killed == 0) {
		struct nmreq_register r = { .nr_mode = NR_REG_ALL_NIC };
		int own = open_device();
		_exit(request_on(own, NETMAP_REQ_REGISTER, "valed:k", &r) || write(up[1], "", 1) != 1 || pause());
	}
	NEED(read(up[0], &byte, 1) == 1);
	fact("killed_has_port", "%d", is_there("valed:k"));
	kill(killed, SIGKILL);
	waitpid(killed, NULL, 0);
	fact("killed_port_gone", "%d", !is_there("valed:k"));
}

/* exec: what is not close-on-exec stays bound, and the new program can go on with it. */
static void exec_keeps(void)
{
	MUST_OPEN(a, "valed:a");
	MUST_OPEN(b, "valed:b");
	char number[16], size[32], offset[32];
	int status;
	snprintf(number, sizeof number, "%d", a.fd);
	snprintf(size, sizeof size, "%llu", (unsigned long long)a.reg.nr_memsize);
	snprintf(offset, sizeof offset, "%llu", (unsigned long long)a.reg.nr_offset);
	fact("cloexec_default", "%d", fcntl(a.fd, F_GETFD));
	pid_t child = fork();
	if (child == 0) {
		setenv("EXEC_FD", number, 1);
		setenv("EXEC_SIZE", size, 1);
		setenv("EXEC_OFFSET", offset, 1);
		execl("/proc/self/exe", "descriptors", "exec_new_program", NULL);
		_exit(99);
	}
	waitpid(child, &status, 0);
	fact("new_program", "%d", WEXITSTATUS(status));
	fact_received("received", &b, 0);
	fact("still_there", "%d", is_there("valed:a"));
	/* with close-on-exec the binding ends when the program is replaced */
	int fd = open("/dev/netmap", O_RDWR | O_CLOEXEC), up[2];
	struct nmreq_register r = { .nr_mode = NR_REG_ALL_NIC };
	NEED(request_on(fd, NETMAP_REQ_REGISTER, "valed:x", &r) == 0 && pipe(up) == 0);
	fact("cloexec_asked", "%d", fcntl(fd, F_GETFD));
	child = fork();
	if (child == 0) {
		fcntl(up[0], F_SETFD, FD_CLOEXEC);
		setenv("EXEC_FD", "-1", 1);
		execl("/proc/self/exe", "descriptors", "exec_waits", NULL);
		_exit(99);
	}
	close(fd);
	close(up[1]);
	char byte;
	/* end of input here means that the new program is there or gone; it holds no writing end then */
	waitpid(child, &status, 0);
	fact("waiter", "%d %zd", WEXITSTATUS(status), read(up[0], &byte, 1));
	fact("x_gone", "%d", !is_there("valed:x"));
}

/* Not a case of its own: what exec_keeps starts. Prints nothing unless started so. */
static void exec_new_program(void)
{
	const char *number = getenv("EXEC_FD");
	if (!number)
		return;
	struct port p = { .fd = atoi(number) };
	p.reg.nr_memsize = strtoull(getenv("EXEC_SIZE"), NULL, 10);
	p.reg.nr_offset = strtoull(getenv("EXEC_OFFSET"), NULL, 10);
	struct nmreq_register again = { .nr_mode = NR_REG_ALL_NIC };
	fact_error("register_again", request_on(p.fd, NETMAP_REQ_REGISTER, "valed:a", &again));
	fact_error("mmap", map_port(&p));
	fact("poll", "%s", poll_result(p.fd, POLLOUT, 0));
	put(&p, 0x22);
	fact_error("txsync", txsync(&p));
}

static void exec_waits(void)
{
	if (getenv("EXEC_FD"))
		fact_error("unused_number", sync_fd(1000));
}

static void send_fd(int socket, int fd)
{
	char byte = 'x', room[CMSG_SPACE(sizeof fd)];
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room };
	memset(room, 0, sizeof room);
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(head), &fd, sizeof fd);
	NEED(sendmsg(socket, &message, 0) == 1);
}

static int receive_fd(int socket)
{
	char byte, room[CMSG_SPACE(sizeof(int))];
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room };
	int fd = -1;
	NEED(recvmsg(socket, &message, 0) == 1 && CMSG_FIRSTHDR(&message));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
	return fd;
}

/* A descriptor that came over a socket from a process that is gone: netmap's own tests work so. */
static void passed_over_socket(void)
{
	int pair[2];
	NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	MUST_OPEN(b, "valed:b");
	struct port a = { .fd = -1 };
	pid_t child = fork();
	if (child == 0) {
		close(b.fd);
		OPEN(mine, "valed:a");
		send_fd(pair[1], mine.fd);
		_exit(write(pair[1], &mine.reg, sizeof mine.reg) != sizeof mine.reg);
	}
	a.fd = receive_fd(pair[0]);
	NEED(read(pair[0], &a.reg, sizeof a.reg) == sizeof a.reg);
	waitpid(child, NULL, 0);
	fact("there", "%d", is_there("valed:a"));
	fact("poll", "%s", poll_result(a.fd, POLLIN | POLLOUT, 0));
	fact_error("mmap", map_port(&a));
	put(&a, 0x33);
	fact_error("txsync", txsync(&a));
	fact_received("received", &b, 0);
	drain(&b);
	put_on(txring(&b, 0), mac_a, mac_b, 60, 0x44, 0);
	txsync(&b);
	fact("poll_in", "%s", poll_result(a.fd, POLLIN, LONG_MS));
	fact("epoll_in", "%s", epoll_result(a.fd, EPOLLIN, LONG_MS));
	/* in flight only: nobody holds it but the socket */
	send_fd(pair[1], a.fd);
	close_port(&a);
	fact("in_flight", "%d", is_there("valed:a"));
	a.fd = receive_fd(pair[0]);
	fact_error("landed", sync_fd(a.fd));
	close(a.fd);
	fact("gone", "%d", !is_there("valed:a"));
	/* an unbound one */
	int plain = open_device();
	send_fd(pair[1], plain);
	close(plain);
	plain = receive_fd(pair[0]);
	fact_error("unbound_sync", sync_fd(plain));
	struct nmreq_register r = { .nr_mode = NR_REG_ALL_NIC };
	fact_error("unbound_register", request_on(plain, NETMAP_REQ_REGISTER, "valed:u", &r));
	fact_error("unbound_bound", sync_fd(plain));
	/* never received: closing the socket ends it */
	send_fd(pair[1], plain);
	close(plain);
	fact("unread", "%d", is_there("valed:u"));
	close(pair[0]);
	close(pair[1]);
	fact("unread_gone", "%d", !is_there("valed:u"));
}

/* What is bound exclusively is free at once after the last close, also if the process died. */
static void exclusive_again(void)
{
	int all_ok = 1;
	for (int i = 0; i < 20; i++) {
		OPEN(p, "valed:e", .nr_flags = NR_EXCLUSIVE);
		all_ok &= p.error == 0;
		close_port(&p);
	}
	fact("by_close", "%d", all_ok);
	for (int i = 0; i < 20; i++)
		all_ok &= IN_CHILD(({ OPEN(p, "valed:e", .nr_flags = NR_EXCLUSIVE); p.error; })) == 0;
	fact("by_exit", "%d", all_ok);
	for (int i = 0; i < 5; i++)
		all_ok &= IN_CHILD(({ OPEN(p, "valed:e", .nr_flags = NR_EXCLUSIVE); p.error || kill(getpid(), SIGKILL); })) == 1009;
	fact("by_kill", "%d", all_ok);
	OPEN(p, "valed:e", .nr_flags = NR_EXCLUSIVE);
	fact_error("at_last", p.error);
}

SCENARIO("switch", "descriptors: dup, fork, exec, SCM_RIGHTS, last close",
	{ "dups", dups }, { "dup_over", dup_over }, { "forks", forks }, { "exec_keeps", exec_keeps },
	{ "exec_new_program", exec_new_program }, { "exec_waits", exec_waits },
	{ "passed_over_socket", passed_over_socket }, { "exclusive_again", exclusive_again })
