/*
 * Says how it was started: its name, and whether its system calls are looked at. Ends with its last argument as
 * status.
 *
 * Compiled with -DDEVICE it names the device, as a netmap program does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
	printf("\n");
	return atoi(last);
}
