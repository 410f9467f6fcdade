/*
 * Says how it was started: its name, and whether its system calls are looked at. Ends as its last argument says: a
 * status, "term" (waits for SIGTERM), or "kill" (by SIGKILL).
 *
 * Compiled with -DDEVICE it names the device, as a netmap program does.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef DEVICE
const char *volatile device = "/dev/netmap";
#endif

int main(int argc, char **argv)
{
	const char *last = argv[argc - 1];
	char line[256];
	FILE *status = fopen("/proc/self/status", "r");

	printf("args=%d name=%s", argc, argv[0]);
	while (status && fgets(line, sizeof line, status))
		if (strncmp(line, "Seccomp:", 8) == 0)
			printf(" filtered=%d", atoi(line + 8) != 0);
	printf(" pid=%d\n", (int)getpid());
	fflush(stdout);
	if (strcmp(last, "kill") == 0)
		kill(getpid(), SIGKILL);
	if (strcmp(last, "term") == 0)
		for (;;)
			pause();
	return atoi(last);
}
