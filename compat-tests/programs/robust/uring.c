/* Adds a netmap descriptor to an epoll set as libuv does: by a ring where one can be had, else by epoll_ctl; then waits
 * with epoll_wait while another process sends. Prints which way it was. */
#include "robust.h"

#include <linux/io_uring.h>
#include <sys/syscall.h>

/* liburing's, which makes its system calls itself. Whoever is there answers. */
extern int io_uring_queue_init(unsigned entries, void *ring, unsigned flags) __attribute__((weak));

/* 0, or -1 where no ring can be had. */
static int add_by_ring(int set, int fd, struct epoll_event *event)
{
	struct io_uring_params params;

	memset(&params, 0, sizeof params);
	int ring = (int)syscall(SYS_io_uring_setup, 4, &params);
	if (ring < 0)
		return -1;
	size_t sq_size = params.sq_off.array + params.sq_entries * sizeof(unsigned);
	char *sq = mmap(NULL, sq_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	struct io_uring_sqe *entry = mmap(NULL, params.sq_entries * sizeof *entry, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
					  IORING_OFF_SQES);
	CHECK(sq != MAP_FAILED && (void *)entry != MAP_FAILED);
	unsigned *tail = (unsigned *)(sq + params.sq_off.tail), *array = (unsigned *)(sq + params.sq_off.array);
	memset(entry, 0, sizeof *entry);
	entry->opcode = IORING_OP_EPOLL_CTL;
	entry->fd = set;
	entry->len = EPOLL_CTL_ADD;
	entry->off = (unsigned)fd;
	entry->addr = (uintptr_t)event;
	array[0] = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	CHECK(syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) >= 0);
	return 0;
}

int main(void)
{
	struct port a = open_port("vale0:a");
	struct epoll_event event = { .events = EPOLLIN };
	struct seen seen = { 0 };
	int set = epoll_create1(0);

	int by_ring = add_by_ring(set, a.fd, &event) == 0;
	say("%s", by_ring ? "by a ring" : errno == ENOSYS ? "no ring: ENOSYS" : "no ring");
	if (by_ring)
		return 0;
	char ring[4096];
	CHECK(io_uring_queue_init && io_uring_queue_init(4, ring, 0) == -ENOSYS);
	CHECK(epoll_ctl(set, EPOLL_CTL_ADD, a.fd, &event) == 0);
	pid_t child = fork();
	if (child == 0) {
		struct port b = open_port("vale0:b");
		uint64_t seq = 0;
		usleep(50000);
		send_one(&b, 0xff, 1, &seq);
		_exit(0);
	}
	CHECK(epoll_wait(set, &event, 1, 20000) == 1);
	CHECK(take_now(&a, &seen) == 1);
	wait_child(child);
	say("ok");
	return 0;
}
