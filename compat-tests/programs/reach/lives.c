/*
 * What a program may do to whoever serves it.
 *
 *   lives binds PORT   binds it for itself alone, and ends without a close
 *   lives hides        its memory cannot be read
 *   lives opens SOFT   with that limit, opens until it cannot; then a child does
 *   lives drops        becomes nobody, with a port open
 *   lives catches      says when SIGTSTP has come, and goes on
 */
#include "../robust/robust.h"
#include <grp.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static int binds(const char *name)
{
	struct nmreq_register reg = { .nr_mode = NR_REG_ALL_NIC, .nr_flags = NR_EXCLUSIVE };
	int fd = open("/dev/netmap", O_RDWR);
	CHECK(fd >= 0);
	errno = bind_to(fd, name, &reg);
	CHECK(errno == 0);
	say("bound");
	return 0;
}

static int hides(void)
{
	CHECK(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0);
	for (int i = 0; i < 3; i++)
		CHECK(open("/dev/netmap", O_RDWR) < 0 && errno == ENOENT);
	say("hidden");
	return 0;
}

static int opens(rlim_t soft)
{
	struct rlimit limit;
	int n = 0;
	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur == soft);
	while (open("/dev/netmap", O_RDWR) >= 0)
		n++;
	CHECK(errno == EMFILE || errno == ENFILE);
	say("opened %d", n);
	pid_t pid = fork();
	if (pid == 0) {
		/* it has room itself */
		CHECK(close(4) == 0);
		int fd = open("/dev/null", O_RDONLY);
		CHECK(fd == 4 && close(fd) == 0);
		CHECK(open("/dev/netmap", O_RDWR) >= 0 || errno == EMFILE || errno == ENFILE);
		_exit(0);
	}
	wait_child(pid);
	return 0;
}

static int drops(void)
{
	struct port p = open_port("vale0:drops");
	CHECK(setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0);
	CHECK(ioctl(p.fd, NIOCTXSYNC, NULL) == 0);
	CHECK(open("/dev/netmap", O_RDWR) < 0 && errno == EACCES);
	say("dropped");
	return 0;
}

static volatile sig_atomic_t caught;

static void on_stop(int signal)
{
	(void)signal;
	caught = 1;
}

static int catches(void)
{
	struct port p = open_port("vale0:catches");
	signal(SIGTSTP, on_stop);
	say("ready");
	while (!caught)
		usleep(1000);
	/* goes on: its calls are served */
	for (int i = 0; i < 20; i++)
		CHECK(poll_now(p.fd, POLLIN, 1) == 0);
	say("caught");
	/* the group of a test may have nobody who would continue it, and SIGTSTP does nothing then */
	raise(SIGSTOP);
	CHECK(ioctl(p.fd, NIOCTXSYNC, NULL) == 0);
	say("continued");
	return 0;
}

int main(int argc, char **argv)
{
	CHECK(argc > 1);
	if (strcmp(argv[1], "binds") == 0 && argc == 3)
		return binds(argv[2]);
	if (strcmp(argv[1], "hides") == 0)
		return hides();
	if (strcmp(argv[1], "opens") == 0 && argc == 3)
		return opens((rlim_t)atoi(argv[2]));
	if (strcmp(argv[1], "drops") == 0)
		return drops();
	if (strcmp(argv[1], "catches") == 0)
		return catches();
	say("%s is no part", argv[1]);
	return 2;
}
