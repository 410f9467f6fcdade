/*
 * Maps a port in one thread while others use the same descriptor: whatever they do with it, it is the port.
 *
 *   swaps asleep     the thread that has mapped sleeps in a call that nobody looks at; others wait for the descriptor
 *   swaps at-once    others duplicate it, fork, send it and map it, again and again, meanwhile
 *   swaps reused     one closes it, and its number is another file's, while others wait for it
 */
#include "../robust/robust.h"
#include <pthread.h>

static struct port port;
static int wake[2];
static volatile int mapped, over;

static void *map_and_sleep(void *unused)
{
	char byte;
	(void)unused;
	CHECK(map_port(&port) == 0);
	mapped = 1;
	CHECK(read(wake[0], &byte, 1) == 1);
	return NULL;
}

/* After each of these the descriptor is the port's again, and the next one starts with another mapping. */
static void while_one_sleeps(void (*use)(void))
{
	pthread_t thread;
	mapped = 0;
	CHECK(pthread_create(&thread, NULL, map_and_sleep, NULL) == 0);
	while (!mapped)
		usleep(1000);
	use();
	CHECK(write(wake[1], "", 1) == 1 && pthread_join(thread, NULL) == 0);
}

static void use_poll(void)
{
	CHECK(poll_now(port.fd, POLLIN, 20) == 0);
}

static void use_select(void)
{
	struct timeval soon = { .tv_usec = 20000 };
	fd_set set;
	FD_ZERO(&set);
	FD_SET(port.fd, &set);
	CHECK(select(port.fd + 1, &set, NULL, NULL, &soon) == 0);
}

static void use_epoll(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	int set = epoll_create1(0);
	CHECK(epoll_ctl(set, EPOLL_CTL_ADD, port.fd, &event) == 0);
	CHECK(epoll_wait(set, &event, 1, 20) == 0);
	close(set);
}

static int is_port(int fd)
{
	return ioctl(fd, NIOCRXSYNC, NULL) == 0;
}

static void use_dup2(void)
{
	int fd = dup2(port.fd, 200);
	CHECK(fd == 200 && is_port(fd));
	close(fd);
}

union control {
	struct cmsghdr head;
	char bytes[CMSG_SPACE(sizeof(int))];
};

/* Sends the descriptor by sendmmsg(2) or sendmsg(2); what arrives. */
static int send_to_self(int by_many)
{
	union control control = { .bytes = { 0 } };
	char byte = 0;
	struct iovec part = { &byte, 1 };
	struct mmsghdr message = { .msg_hdr = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
						.msg_controllen = sizeof control } };
	int ends[2], got;
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
	control.head.cmsg_len = CMSG_LEN(sizeof(int));
	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(&control.head), &port.fd, sizeof(int));
	CHECK((by_many ? sendmmsg(ends[0], &message, 1, 0) : sendmsg(ends[0], &message.msg_hdr, 0)) == 1);
	CHECK(recvmsg(ends[1], &message.msg_hdr, 0) == 1);
	memcpy(&got, CMSG_DATA(&control.head), sizeof got);
	close(ends[0]);
	close(ends[1]);
	return got;
}

static void use_sendmmsg(void)
{
	int fd = send_to_self(1);
	CHECK(is_port(fd));
	close(fd);
}

static void *duplicate(void *unused)
{
	while (!over) {
		int fd = dup(port.fd);
		CHECK(fd >= 0 && is_port(fd));
		close(fd);
	}
	return unused;
}

static void *fork_often(void *unused)
{
	while (!over) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(is_port(port.fd) ? 0 : 1);
		wait_child(pid);
	}
	return unused;
}

static void *send_often(void *unused)
{
	for (int i = 0; !over; i++) {
		int fd = send_to_self(i % 2);
		CHECK(is_port(fd));
		close(fd);
	}
	return unused;
}

static void *map_often(void *unused)
{
	for (unsigned i = 0; unused == NULL ? !over : i < 300; i++) {
		void *at = mmap(NULL, port.reg.nr_memsize, PROT_READ | PROT_WRITE, MAP_SHARED, port.fd, 0);
		CHECK(at != MAP_FAILED && munmap(at, port.reg.nr_memsize) == 0);
	}
	return unused;
}

static void *poll_often(void *unused)
{
	while (!over) {
		struct pollfd at = { .fd = 100, .events = POLLIN };
		CHECK(poll(&at, 1, 0) >= 0);
	}
	return unused;
}

static void reused(void)
{
	pthread_t thread;
	int file = memfd_create("other", 0);
	CHECK(file >= 0 && ftruncate(file, 4096) == 0);
	CHECK(pthread_create(&thread, NULL, poll_often, NULL) == 0);
	for (int i = 0; i < 1000; i++) {
		CHECK(dup2(port.fd, 100) == 100 && close(100) == 0);
		CHECK(fcntl(file, F_DUPFD, 100) == 100);
		char byte, *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 100, 0);
		CHECK(at != MAP_FAILED);
		*at = (char)i;
		CHECK(pread(file, &byte, 1, 0) == 1 && byte == (char)i);
		CHECK(munmap(at, 4096) == 0 && close(100) == 0);
	}
	over = 1;
	CHECK(pthread_join(thread, NULL) == 0);
}

int main(int argc, char **argv)
{
	CHECK(argc == 2);
	port.reg.nr_mode = NR_REG_ALL_NIC;
	port.fd = open("/dev/netmap", O_RDWR);
	CHECK(port.fd >= 0 && bind_to(port.fd, "vale0:swaps", &port.reg) == 0 && pipe(wake) == 0);
	if (strcmp(argv[1], "asleep") == 0) {
		void (*const uses[])(void) = { use_poll, use_select, use_epoll, use_dup2, use_sendmmsg };
		for (size_t i = 0; i < sizeof uses / sizeof *uses; i++)
			while_one_sleeps(uses[i]);
	} else if (strcmp(argv[1], "reused") == 0) {
		reused();
	} else {
		void *(*const others[])(void *) = { duplicate, fork_often, send_often, map_often };
		for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
			pthread_t thread;
			over = 0;
			CHECK(pthread_create(&thread, NULL, others[i], NULL) == 0);
			map_often(&port);
			over = 1;
			CHECK(pthread_join(thread, NULL) == 0);
		}
	}
	say("done");
	return 0;
}
