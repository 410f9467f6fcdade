/*
 * Runs a command at a terminal of its own, as the first process of its session. What is written to this program is
 * typed there, and what the terminal shows is printed. The end of the input is a hang-up. Ends as the command does,
 * 128 and the number if by a signal.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char bytes[4096];
	int status;
	int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (argc < 2 || terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0) {
		perror("terminal");
		return 2;
	}
	const char *name = ptsname(terminal);
	pid_t pid = fork();
	if (pid == 0) {
		setsid();
		int fd = open(name, O_RDWR);
		ioctl(fd, TIOCSCTTY, 0);
		for (int i = 0; i < 3; i++)
			dup2(fd, i);
		if (fd > 2)
			close(fd);
		execvp(argv[1], argv + 1);
		_exit(127);
	}
	struct pollfd fds[2] = { { .fd = 0, .events = POLLIN }, { .fd = terminal, .events = POLLIN } };
	while (poll(fds, 2, -1) > 0) {
		ssize_t n;
		if (fds[1].revents) {
			n = read(terminal, bytes, sizeof bytes);
			if (n <= 0 || write(1, bytes, (size_t)n) != n)
				break;
		}
		if (fds[0].revents) {
			n = read(0, bytes, sizeof bytes);
			if (n <= 0 || write(terminal, bytes, (size_t)n) != n)
				break;
		}
	}
	close(terminal);
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
