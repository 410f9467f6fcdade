/*
 * Threads and processes of a program whose system calls are trapped.
 */
#include "raw.h"

#include <pthread.h>

extern char **environ;

static void *one_thread(void *argument)
{
	struct port *shared = argument;
	int fd = raw_open();

	CHECK(fd >= 0);
	check_port(shared->fd);
	CHECK(RAW3(SYS_close, fd, 0, 0) == 0);
	return NULL;
}

/* Threads by hundreds, at once and one after the other: each is trapped, and leaves nothing. */
static void threads(void)
{
	struct port p = raw_port("vale0:a");
	pthread_t all[50];
	unsigned before = 0;

	for (int round = 0; round < 12; round++) {
		for (unsigned i = 0; i < COUNT(all); i++)
			CHECK(pthread_create(&all[i], NULL, one_thread, &p) == 0);
		for (unsigned i = 0; i < COUNT(all); i++)
			CHECK(pthread_join(all[i], NULL) == 0);
		if (round == 1)
			before = lines_of_maps();
	}
	/* the C library keeps stacks of threads, as many as they were at once */
	CHECK(lines_of_maps() <= before + COUNT(all));
}

/* Processes: fork's child is trapped, too; vfork's changes nothing of its parent's. */
static void children(void)
{
	struct port p = raw_port("vale0:a");
	char *arguments[] = { "/bin/sh", "-c", "exit 7", NULL };
	int status, extra = raw_open();
	pid_t child = fork();

	CHECK(child >= 0);
	if (child == 0) {
		struct port own = raw_port("vale0:b");
		check_port(p.fd);
		raw_close_port(&own);
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	for (int i = 0; i < 20; i++) {
		child = vfork();
		if (child == 0) {
			RAW3(SYS_close, p.fd, 0, 0);
			RAW3(SYS_dup3, 1, extra, 0);
			RAW3(SYS_fcntl, extra, F_SETFD, FD_CLOEXEC);
			RAW3(SYS_execve, arguments[0], arguments, environ);
			_exit(9);
		}
		CHECK(child > 0 && waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7);
		check_port(p.fd);
		check_port(p.fd);
		CHECK(ioctl(extra, NIOCTXSYNC, NULL) < 0 && errno == ENXIO);
	}
}

/* vfork by a call of our own: both return from it on one stack. */
static void raw_vfork(void)
{
	struct port p = raw_port("vale0:a");
	int status;

	for (int i = 0; i < 20; i++) {
		static char *arguments[] = { "/bin/sh", "-c", "exit 7", NULL };
		static char **environment;
		static int fd;
		environment = environ;
		fd = p.fd;
		long child = RAW(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0, 0, 0, 0);
		if (child == 0) {
			RAW3(SYS_close, fd, 0, 0);
			RAW3(SYS_dup3, 1, fd, 0);
			RAW3(SYS_execve, arguments[0], arguments, environment);
			RAW3(SYS_exit, 9, 0, 0);
		}
		CHECK(child > 0 && waitpid((pid_t)child, &status, 0) == child && WEXITSTATUS(status) == 7);
		check_port(p.fd);
	}
	long child = RAW(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);
	if (child == 0)
		RAW3(SYS_exit_group, 3, 0, 0);
	CHECK(child > 0 && waitpid((pid_t)child, &status, 0) == child && WEXITSTATUS(status) == 3);
}

/* fork by a call of our own: the child is trapped, and has the device as any child has. */
static void raw_fork(void)
{
	struct port p = raw_port("vale0:a");
	const unsigned long flags[] = { SIGCHLD, SIGCHLD | CLONE_VFORK };
	int status;

	for (unsigned i = 0; i < 3; i++) {
#ifdef SYS_fork
		long child = i == 2 ? RAW3(SYS_fork, 0, 0, 0) : RAW(SYS_clone, flags[i], 0, 0, 0, 0, 0);
#else
		long child = RAW(SYS_clone, flags[i % 2], 0, 0, 0, 0, 0);
#endif
		if (child == 0) {
			struct port its = raw_port("vale0:b");
			check_port(its.fd);
			check_port(p.fd);
			raw_close_port(&its);
			RAW3(SYS_exit_group, 5, 0, 0);
		}
		CHECK(child > 0 && waitpid((pid_t)child, &status, 0) == child && status == 5 << 8);
		check_port(p.fd);
	}
}

static const struct test_case cases[] = {
	{ "threads", threads }, { "children", children }, { "raw-vfork", raw_vfork }, { "raw-fork", raw_fork },
};

int main(int argc, char **argv)
{
	return run_cases(argc, argv, cases, COUNT(cases));
}
