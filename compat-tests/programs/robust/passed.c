/*
 * Descriptors of /dev/netmap that go to other processes by SCM_RIGHTS.
 */
#include "robust.h"

/* Binds nothing: takes the binding that `fd` has. The ring layout is that of a port with default rings. */
static struct port inherited(int fd, const struct port *like)
{
	struct port p = *like;
	p.fd = fd;
	errno = map_port(&p);
	CHECK(errno == 0);
	return p;
}

static void send_fd(int sock, int fd, const void *bytes, size_t n)
{
	char space[CMSG_SPACE(sizeof fd)];
	memset(space, 0, sizeof space);
	struct iovec iov = { (void *)bytes, n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	CHECK(sendmsg(sock, &m, 0) == (ssize_t)n);
}

static int receive_fd(int sock, void *bytes, size_t n)
{
	char space[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { bytes, n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space };
	CHECK(recvmsg(sock, &m, 0) == (ssize_t)n);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	CHECK(c != NULL && c->cmsg_type == SCM_RIGHTS);
	int fd;
	memcpy(&fd, CMSG_DATA(c), sizeof fd);
	return fd;
}

static void to_child(void)
{
	int pair[2];
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		/* forked before the port was opened */
		struct port like;
		struct seen seen = { 0 };
		memset(&like, 0, sizeof like);
		int fd = receive_fd(pair[1], &like.reg, sizeof like.reg);
		CHECK(poll_now(fd, POLLIN, NEVER) == POLLIN);
		like.size = like.reg.nr_memsize;
		struct port p = inherited(fd, &like);
		CHECK(take_now(&p, &seen) == 1);
		_exit(0);
	}
	struct port from = open_port("vale0:from"), p = open_port("vale0:passed");
	uint64_t seq = 0;
	send_fd(pair[0], p.fd, &p.reg, sizeof p.reg);
	close_port(&p);
	CHECK(!is_free("vale0:passed"));
	send_one(&from, 0xff, 1, &seq);
	wait_child(child);
	CHECK(is_free("vale0:passed"));
}

/* A program that has nothing in common with the sender but the socket. */
static void receive_over(int sock)
{
	struct port like;
	struct seen seen = { 0 };
	uint64_t seq = 0;
	memset(&like, 0, sizeof like);
	int fd = receive_fd(sock, &like.reg, sizeof like.reg);
	struct port p = inherited(fd, &like);
	CHECK(poll_now(p.fd, POLLIN, NEVER) == POLLIN);
	CHECK(take_now(&p, &seen) == 1);
	send_one(&p, 0xff, 2, &seq);
	int copy = dup(fd);
	close(fd);
	CHECK(ioctl(copy, NIOCTXSYNC, NULL) == 0);
	CHECK(!is_free("vale0:passed"));
	close(copy);
	CHECK(!is_free("vale0:passed"));
	munmap(p.mem, p.size);
	CHECK(is_free("vale0:passed"));
}

static void unrelated(void)
{
	int pair[2];
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0)
		run_self("--receive-over", pair[1]);
	struct port from = open_port("vale0:from"), p = open_port("vale0:passed");
	struct seen seen = { 0 };
	uint64_t seq = 0;
	send_fd(pair[0], p.fd, &p.reg, sizeof p.reg);
	/* on its way it is open, though nobody has it */
	close_port(&p);
	CHECK(!is_free("vale0:passed"));
	send_one(&from, 0xff, 1, &seq);
	wait_child(child);
	CHECK(take_now(&from, &seen) == 1);
	CHECK(is_free("vale0:passed"));
}

/* Two processes use one description at the same time, one of them through SCM_RIGHTS. */
static void sync_forever(int sock)
{
	struct port like;
	memset(&like, 0, sizeof like);
	int fd = receive_fd(sock, &like.reg, sizeof like.reg);
	char c = 0;
	for (int i = 0; i < 20000; i++)
		CHECK(ioctl(fd, i & 1 ? NIOCTXSYNC : NIOCRXSYNC, NULL) == 0);
	CHECK(write(sock, &c, 1) == 1);
	pause();
}

static void killed(void)
{
	struct port from = open_port("vale0:from"), p = open_port("vale0:passed");
	uint64_t seq = 0;
	struct seen seen = { 0 };
	for (int round = 0; round < 10; round++) {
		int pair[2];
		char c;
		CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0)
			run_self("--sync-forever", pair[1]);
		close(pair[1]);
		send_fd(pair[0], p.fd, &p.reg, sizeof p.reg);
		for (int i = 0; i < 2000; i++)
			check_path(&from, &p, 1, &seq, &seen);
		if (round & 1)
			CHECK(read(pair[0], &c, 1) == 1);
		CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
		check_path(&from, &p, 1, &seq, &seen);
		check_path(&p, &from, 2, &seq, &seen);
		close(pair[0]);
	}
	close_port(&p);
	CHECK(is_free("vale0:passed"));
}

/* Nobody ever receives it: the port goes with the message. */
static void never_received(void)
{
	int pair[2];
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	struct port p = open_port("vale0:passed");
	send_fd(pair[0], p.fd, &p.reg, sizeof p.reg);
	close_port(&p);
	CHECK(!is_free("vale0:passed"));
	close(pair[0]);
	close(pair[1]);
	CHECK(is_free("vale0:passed"));
}

/* ---- */

static const struct test_case cases[] = {
	{ "to-child", to_child },
	{ "unrelated", unrelated },
	{ "killed", killed },
	{ "never-received", never_received },
};

static const struct test_part parts[] = {
	{ "--receive-over", receive_over },
	{ "--sync-forever", sync_forever },
};

int main(int argc, char **argv)
{
	if (run_part(argc, argv, parts, COUNT(parts)))
		return 0;
	return run_cases(argc, argv, cases, COUNT(cases));
}
