/*
 * System calls past the C library, trapped: what they give, and what they leave as it was.
 */
#include "raw.h"
#include "registers.h"

#include <sys/stat.h>

extern char **environ;

static int frames_waiting(struct port *p)
{
	CHECK(raw_ioctl(p->fd, NIOCRXSYNC, NULL) == 0);
	return (int)ring_space(rx_ring(p, 0));
}

/* Both ways know one descriptor, whoever has opened it. */
static void both(void)
{
	struct port a = raw_port("vale0:a"), b = open_port("vale0:b");
	struct pollfd fds = { .fd = b.fd, .events = POLLIN };
	struct timespec never = { 3600, 0 };
	uint64_t seq = 0;
	struct stat st;

	CHECK(RAW3(SYS_fstat, a.fd, &st, 0) == 0 && S_ISCHR(st.st_mode));
	CHECK(RAW(SYS_newfstatat, AT_FDCWD, "/dev/netmap", &st, 0, 0, 0) == 0 && S_ISCHR(st.st_mode));
	CHECK(RAW3(SYS_read, a.fd, &st, 1) == -EINVAL);
	CHECK((RAW3(SYS_fcntl, a.fd, F_GETFL, 0) & O_ACCMODE) == O_RDWR);
	send_one(&a, 0xff, 1, &seq);
	CHECK(raw_poll(&fds, 1, &never, NULL) == 1 && fds.revents == POLLIN);
	CHECK(frames_waiting(&b) == 1);

	int copy = (int)RAW3(SYS_dup, a.fd, 0, 0);
	CHECK(RAW3(SYS_close, a.fd, 0, 0) == 0);
	check_port(copy);
	CHECK(dup2(copy, a.fd) == a.fd && close(copy) == 0);
	check_port(a.fd);
	int other = open("/dev/null", O_RDWR);
	CHECK(RAW3(SYS_dup3, other, a.fd, 0) == a.fd);
	CHECK(raw_ioctl(a.fd, NIOCTXSYNC, NULL) == -ENOTTY);
	struct { uint64_t flags, mode, resolve; } how = { .flags = O_RDWR };
	int third = (int)RAW(SYS_openat2, AT_FDCWD, "/dev/netmap", &how, sizeof how, 0, 0);
	CHECK(third >= 0 && close(third) == 0);
	raw_close_port(&b);
}

static void epoll(void)
{
	struct port a = raw_port("vale0:a"), b = raw_port("vale0:b");
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = 7 };
	int ep = (int)RAW3(SYS_epoll_create1, EPOLL_CLOEXEC, 0, 0);
	uint64_t seq = 0;

	CHECK(ep >= 0 && RAW(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, b.fd, &event, 0, 0) == 0);
	memset(&event, 0, sizeof event);
	CHECK(RAW(SYS_epoll_pwait, ep, &event, 1, 0, 0, 8) == 0);
	send_one(&a, 0xff, 1, &seq);
	CHECK(RAW(SYS_epoll_pwait, ep, &event, 1, -1, 0, 8) == 1 && event.data.u64 == 7);
	memset(&event, 0, sizeof event);
	CHECK(epoll_wait(ep, &event, 1, -1) == 1 && event.data.u64 == 7);
}

/* What the kernel refuses is refused, bad addresses too. */
static void refusals(void)
{
	void *bad = (void *)8;
	struct port p = raw_port("vale0:a");

	errno = 77;
	CHECK(raw_ioctl(p.fd, NIOCCTRL, bad) == -EFAULT);
	CHECK(raw_ioctl(-1, NIOCTXSYNC, NULL) == -EBADF);
	CHECK(RAW(SYS_openat, AT_FDCWD, bad, O_RDONLY, 0, 0, 0) == -EFAULT);
	CHECK(RAW(SYS_openat, AT_FDCWD, "/nowhere", O_RDONLY, 0, 0, 0) == -ENOENT);
	CHECK(RAW(SYS_ppoll, bad, 1, 0, 0, 8, 0) == -EFAULT);
	CHECK(RAW(SYS_rt_sigprocmask, SIG_SETMASK, bad, 0, 8, 0, 0) == -EFAULT);
	CHECK(RAW(SYS_rt_sigprocmask, SIG_SETMASK, 0, 0, 7, 0, 0) == -EINVAL);
	CHECK(RAW(SYS_rt_sigprocmask, 99, &(uint64_t){ 0 }, 0, 8, 0, 0) == -EINVAL);
	CHECK(RAW(SYS_rt_sigaction, SIGUSR1, bad, 0, 8, 0, 0) == -EFAULT);
	CHECK(RAW(SYS_rt_sigaction, SIGKILL, 0, 0, 8, 0, 0) == 0);
	CHECK(RAW3(9999, 0, 0, 0) == -ENOSYS);
	CHECK(errno == 77);
}

/* Over a call that is served, and over some that are the kernel's. */
static void registers(void)
{
	struct port p = raw_port("vale0:a");

	for (int i = 0; i < 1000; i++) {
		check_registers(SYS_ioctl, p.fd, NIOCTXSYNC, 0);
		check_registers(SYS_ioctl, p.fd, NIOCRXSYNC, 0);
		check_registers(SYS_getpid, 1, 2, getpid());
		check_registers(SYS_fcntl, p.fd, F_GETFD, 0);
		check_registers(SYS_close, -1, 0, -EBADF);
		check_registers(SYS_rt_sigprocmask, SIG_BLOCK, 0, -EINVAL);
	}
}

static void nothing(int signal)
{
	(void)signal;
}

static double nanoseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* What a sync costs, beside a trapped call that the kernel answers, and a sync by the C library. Medians of rounds. */
static void cost(void)
{
	enum { ROUNDS = 41, CALLS = 200 };
	double syncs[ROUNDS], traps[ROUNDS], plain[ROUNDS];
	struct port p = raw_port("vale0:a");

	for (int round = 0; round < ROUNDS; round++) {
		double at[4];
		at[0] = nanoseconds();
		for (int i = 0; i < CALLS; i++)
			raw_ioctl(p.fd, NIOCTXSYNC, NULL);
		at[1] = nanoseconds();
		for (int i = 0; i < CALLS; i++)
			RAW(SYS_rt_sigprocmask, SIG_BLOCK, 0, 0, 7, 0, 0);
		at[2] = nanoseconds();
		for (int i = 0; i < CALLS; i++)
			ioctl(p.fd, NIOCTXSYNC, NULL);
		at[3] = nanoseconds();
		syncs[round] = (at[1] - at[0]) / CALLS;
		traps[round] = (at[2] - at[1]) / CALLS;
		plain[round] = (at[3] - at[2]) / CALLS;
	}
	qsort(syncs, ROUNDS, sizeof *syncs, by_size);
	qsort(traps, ROUNDS, sizeof *traps, by_size);
	qsort(plain, ROUNDS, sizeof *plain, by_size);
	double sync = syncs[ROUNDS / 2], trap = traps[ROUNDS / 2];
	say("cost sync=%.0f trap=%.0f preload=%.0f ratio=%.2f", sync, trap, plain[ROUNDS / 2], sync / trap);
}

/* Where nothing can be trapped the C library's calls are served as ever. */
static void library_alone(void)
{
	struct port p = open_port("vale0:a");
	CHECK(RAW(SYS_openat, AT_FDCWD, "/dev/netmap", O_RDWR, 0, 0, 0) == -ENOENT);
	CHECK(ioctl(p.fd, NIOCTXSYNC, NULL) == 0);
}

/* A program that is executed is as it would be elsewhere. */
static void makes_calls(void)
{
	CHECK(RAW3(SYS_getpid, 0, 0, 0) == getpid());
	int fd = (int)RAW(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR, 0, 0, 0);
	CHECK(fd >= 0 && RAW3(SYS_close, fd, 0, 0) == 0);
	uint64_t none = 0;
	CHECK(RAW(SYS_rt_sigprocmask, SIG_SETMASK, &none, 0, 8, 0, 0) == 0);
}

static void ports(void)
{
	struct port p = raw_port("vale0:x");
	check_port(p.fd);
}

static const struct test_case cases[] = {
	{ "both", both }, { "epoll", epoll }, { "refusals", refusals }, { "registers", registers }, { "cost", cost },
	{ "ports", ports }, { "makes-calls", makes_calls }, { "library-alone", library_alone },
};

int main(int argc, char **argv)
{
	/* raw execute PROGRAM ARGUMENTS...: with a port open, that of a call of our own and the C library's alike */
	if (argc > 2 && strcmp(argv[1], "execute") == 0) {
		struct port p = raw_port("vale0:a");
		check_port(p.fd);
		for (int way = 0; way < 2; way++) {
			int status;
			pid_t child = fork();
			CHECK(child >= 0);
			if (child == 0 && way == 0)
				execv(argv[2], argv + 2);
			if (child == 0)
				RAW3(SYS_execve, argv[2], argv + 2, environ);
			CHECK(waitpid(child, &status, 0) == child);
			if (status != 0)
				say("way %d: status %x", way, status);
			CHECK(status == 0);
		}
		check_port(p.fd);
		say("ok execute");
		return 0;
	}
	signal(SIGPIPE, nothing);
	return run_cases(argc, argv, cases, COUNT(cases));
}
