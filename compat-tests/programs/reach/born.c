/*
 * What a process is by its birth and while it lives: the same whoever has started it.
 *
 *   born shows                 signals that are ignored and blocked, descriptors, limits, timers
 *   born dies SIGNAL           of that signal
 *   born listens               says which signals come, with their value, until SIGTERM does
 *   born sends PID SIGNAL N    sends it to PID, with the value N if that is not 0
 *   born withdraws FILE        closes all descriptors, and waits for FILE
 *   born leaves FILE           a child that has closed all descriptors and waits for FILE; ends
 *   born reads                 a line of the terminal
 *   born under FLAGS PROGRAM.. executes it; FLAGS: p ignores SIGPIPE, c SIGCHLD, h SIGHUP; b blocks SIGUSR1, and sends
 *                              it to itself; a sets an alarm, s one of a second; i closes standard input; d opens
 *                              descriptor 9
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

static int shows(void)
{
	static const char *const wanted[] = { "SigIgn", "SigBlk", "SigPnd", "ShdPnd" };
	char line[256];
	struct rlimit limit;
	struct itimerval timer;

	for (int fd = 0; fd < 64; fd++)
		if (fcntl(fd, F_GETFD) != -1)
			printf("fd=%d ", fd);
	FILE *status = fopen("/proc/self/status", "r");
	while (status && fgets(line, sizeof line, status))
		for (int i = 0; i < 4; i++)
			if (strncmp(line, wanted[i], 6) == 0) {
				unsigned long long mask = strtoull(line + 7, NULL, 16);
				/* 32 and 33 are the C library's own */
				printf("%.6s=%llx\n", line, mask & ~(3ULL << 31));
			}
	getrlimit(RLIMIT_NOFILE, &limit);
	getitimer(ITIMER_REAL, &timer);
	printf("files=%llu/%llu alarm=%d\n", (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max,
	       timer.it_value.tv_sec > 0);
	return 0;
}

static int dies(int number)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, number);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(number);
	return 9;
}

static int listens(void)
{
	sigset_t all;
	siginfo_t info;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	printf("ready pid=%d\n", getpid());
	fflush(stdout);
	for (;;) {
		int number = sigwaitinfo(&all, &info);
		if (number < 0)
			continue;
		printf("signal=%d value=%d\n", number, info.si_code == SI_QUEUE ? info.si_value.sival_int : 0);
		fflush(stdout);
		if (number == SIGTERM)
			return 0;
	}
}

static int sends(pid_t pid, int number, int value)
{
	union sigval sent = { .sival_int = value };

	return value ? sigqueue(pid, number, sent) : kill(pid, number);
}

static void wait_without_descriptors(const char *file)
{
	for (int fd = 0; fd < 64; fd++)
		close(fd);
	while (access(file, F_OK) != 0)
		usleep(10000);
}

static int leaves(const char *file)
{
	if (fork() == 0) {
		wait_without_descriptors(file);
		_exit(0);
	}
	return 5;
}

static int reads(void)
{
	char line[64];

	printf("ready pid=%d\n", getpid());
	fflush(stdout);
	while (!fgets(line, sizeof line, stdin))
		if (errno != EINTR)
			return 4;
	printf("read %s", line);
	return 0;
}

static int under(const char *flags, char **program)
{
	struct itimerval timer = { .it_value = { .tv_sec = 100000 } };
	sigset_t set;

	for (; *flags; flags++)
		switch (*flags) {
		case 'p':
			signal(SIGPIPE, SIG_IGN);
			break;
		case 'c':
			signal(SIGCHLD, SIG_IGN);
			break;
		case 'h':
			signal(SIGHUP, SIG_IGN);
			break;
		case 'b':
			sigemptyset(&set);
			sigaddset(&set, SIGUSR1);
			sigprocmask(SIG_BLOCK, &set, NULL);
			raise(SIGUSR1);
			break;
		case 'a':
			setitimer(ITIMER_REAL, &timer, NULL);
			break;
		case 's':
			alarm(1);
			break;
		case 'i':
			close(0);
			break;
		case 'd':
			dup2(2, 9);
			break;
		}
	execvp(program[0], program);
	perror(program[0]);
	return 126;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "shows") == 0)
		return shows();
	if (argc == 3 && strcmp(argv[1], "dies") == 0)
		return dies(atoi(argv[2]));
	if (argc == 2 && strcmp(argv[1], "listens") == 0)
		return listens();
	if (argc == 5 && strcmp(argv[1], "sends") == 0)
		return sends(atoi(argv[2]), atoi(argv[3]), atoi(argv[4])) != 0;
	if (argc == 3 && strcmp(argv[1], "withdraws") == 0)
		return wait_without_descriptors(argv[2]), 0;
	if (argc == 3 && strcmp(argv[1], "leaves") == 0)
		return leaves(argv[2]);
	if (argc == 2 && strcmp(argv[1], "reads") == 0)
		return reads();
	if (argc > 3 && strcmp(argv[1], "under") == 0)
		return under(argv[2], argv + 3);
	fprintf(stderr, "born: see its source\n");
	return 2;
}
