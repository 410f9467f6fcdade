/*
 * Descriptors of /dev/netmap that cross from one container to another.
 *
 *   across give SOCKET            opens vale0:given, hands its descriptor to who connects to SOCKET, and waits at
 *                                 vale0:watch for what is sent on it there
 *   across take SOCKET [meet]     uses the descriptor that it is given: at once, in a child of a fork, after exec;
 *                                 with "meet" it also opens a port of its own in the same world
 *   across meet                   sends a packet between two ports of its own
 *   across wait PORT              opens PORT and waits for a packet
 *   across send PORT              opens PORT and sends a packet until it is stopped
 */
#include "../robust/robust.h"
#include <sys/un.h>

/* What a receiver has to know to map the ring. */
struct gift {
	uint64_t size;
	uint64_t offset;
};

static int unix_socket(const char *path, struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(fd >= 0 && strlen(path) < sizeof address->sun_path);
	memset(address, 0, sizeof *address);
	address->sun_family = AF_UNIX;
	strcpy(address->sun_path, path);
	return fd;
}

static struct port mapped(int fd, const struct gift *gift)
{
	struct port p;
	memset(&p, 0, sizeof p);
	p.fd = fd;
	p.reg.nr_memsize = gift->size;
	p.reg.nr_offset = gift->offset;
	errno = map_port(&p);
	CHECK(errno == 0);
	return p;
}

static void give(const char *path)
{
	struct port given = open_port("vale0:given"), watch = open_port("vale0:watch");
	struct gift gift = { given.reg.nr_memsize, given.reg.nr_offset };
	struct sockaddr_un a;
	struct seen seen = { 0 };
	char space[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { &gift, sizeof gift };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space };
	int sock = unix_socket(path, &a), peer;

	CHECK(bind(sock, (struct sockaddr *)&a, sizeof a) == 0 && listen(sock, 1) == 0);
	say("ready");
	peer = accept(sock, NULL, NULL);
	CHECK(peer >= 0);
	memset(space, 0, sizeof space);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &given.fd, sizeof(int));
	CHECK(sendmsg(peer, &m, 0) == (ssize_t)sizeof gift);
	/* from the taker itself, from its child, after exec, and perhaps from a port of its own */
	while (seen.next[1] == 0 || seen.next[2] == 0 || seen.next[3] == 0) {
		struct pollfd f[2] = { { .fd = watch.fd, .events = POLLIN }, { .fd = peer, .events = POLLIN } };
		CHECK(poll(f, 2, NEVER) > 0);
		take_now(&watch, &seen);
		if (f[1].revents != 0 && take_now(&watch, &seen) == 0)
			break; /* the taker is gone */
	}
	say("own=%d fork=%d exec=%d port=%d", (int)seen.next[1], (int)seen.next[2], (int)seen.next[3], (int)seen.next[4]);
}

static void take(const char *self, const char *path, int meets)
{
	struct gift gift;
	struct sockaddr_un a;
	char space[CMSG_SPACE(sizeof(int))], words[3][24];
	struct iovec iov = { &gift, sizeof gift };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space };
	int sock = unix_socket(path, &a), fd;
	uint64_t seq = 0;

	CHECK(connect(sock, (struct sockaddr *)&a, sizeof a) == 0);
	CHECK(recvmsg(sock, &m, 0) == (ssize_t)sizeof gift);
	CHECK(CMSG_FIRSTHDR(&m) != NULL);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
	struct port given = mapped(fd, &gift);
	if (meets) {
		struct port own = open_port("vale0:own");
		send_one(&own, 0xff, 4, &seq);
		close_port(&own);
	}
	seq = 0;
	send_one(&given, 0xff, 1, &seq);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		seq = 0;
		send_one(&given, 0xff, 2, &seq);
		_exit(0);
	}
	wait_child(child);
	snprintf(words[0], sizeof words[0], "%d", fd);
	snprintf(words[1], sizeof words[1], "%llu", (unsigned long long)gift.size);
	snprintf(words[2], sizeof words[2], "%llu", (unsigned long long)gift.offset);
	/* the socket stays open: its end tells the giver that we are gone */
	execl(self, "across", "--after-exec", words[0], words[1], words[2], (char *)NULL);
	CHECK(!"exec");
}

static void after_exec(char **argv)
{
	struct gift gift = { strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10) };
	struct port given = mapped(atoi(argv[2]), &gift);
	struct pollfd f = { .fd = given.fd, .events = POLLOUT };
	uint64_t seq = 0;

	CHECK(poll(&f, 1, NEVER) == 1 && f.revents == POLLOUT);
	send_one(&given, 0xff, 3, &seq);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	uint64_t seq = 0;
	struct seen seen = { 0 };

	if (strcmp(what, "give") == 0 && argc == 3) {
		give(argv[2]);
	} else if (strcmp(what, "take") == 0 && argc >= 3) {
		take(argv[0], argv[2], argc == 4);
	} else if (strcmp(what, "--after-exec") == 0 && argc == 5) {
		after_exec(argv);
	} else if (strcmp(what, "meet") == 0) {
		struct port a = open_port("vale0:a"), b = open_port("vale0:b");
		check_path(&a, &b, 1, &seq, &seen);
		check_path(&b, &a, 2, &seq, &seen);
	} else if (strcmp(what, "wait") == 0 && argc == 3) {
		struct port p = open_port(argv[2]);
		struct pollfd f = { .fd = p.fd, .events = POLLIN };
		say("ready");
		while (take_now(&p, &seen) == 0)
			CHECK(poll(&f, 1, NEVER) == 1);
	} else if (strcmp(what, "send") == 0 && argc == 3) {
		struct port p = open_port(argv[2]);
		stop_on_term();
		say("ready");
		while (!stopped) {
			send_one(&p, 0xff, 1, &seq);
			usleep(20000);
		}
	} else {
		say("FAILED usage");
		return 2;
	}
	say("done");
	return 0;
}
