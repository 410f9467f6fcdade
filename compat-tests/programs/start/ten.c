/* Sends ten packets from vale0:b to vale0:a and expects them; gives everything back, so that nothing of it is a leak.
 * With an argument it clears its environment first (clear), forks and clears it in the child that sends (fork), or
 * says "ready" and receives what others send (hold). Exits 0 when all ten have come. */
#define _GNU_SOURCE
#include <poll.h>
#include <stdlib.h>
#include <sys/wait.h>
#define NETMAP_WITH_LIBS
#include <net/netmap_user.h>

static int send_ten(const char *name)
{
	unsigned char frame[60] = { 255, 255, 255, 255, 255, 255, 2, 2, 2, 2, 2, 2, 8 };
	struct nm_desc *d = nm_open(name, NULL, 0, NULL);
	int i, r;

	if (d == NULL)
		return 9;
	for (i = 0; i < 10; i++)
		nm_inject(d, frame, sizeof frame);
	r = ioctl(d->fd, NIOCTXSYNC, NULL) != 0;
	nm_close(d);
	return r;
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	struct nm_desc *a;
	struct pollfd p = { .events = POLLIN };
	struct nm_pkthdr h;
	int got = 0, r = 0;

	if (strcmp(how, "clear") == 0) {
		clearenv();
		return send_ten("vale0:b");
	}
	a = nm_open("vale0:a", NULL, 0, NULL);
	if (a == NULL)
		return 9;
	if (strcmp(how, "hold") == 0) {
		printf("ready\n");
		fflush(stdout);
	} else if (strcmp(how, "fork") == 0) {
		int status;
		pid_t child = fork();
		if (child == 0) {
			clearenv();
			_exit(send_ten("vale0:b"));
		}
		r = waitpid(child, &status, 0) != child || status != 0;
	} else {
		r = send_ten("vale0:b");
	}
	p.fd = a->fd;
	while (r == 0 && got < 10) {
		if (poll(&p, 1, 20000) != 1)
			r = 8;
		while (nm_nextpkt(a, &h))
			got++;
	}
	nm_close(a);
	return r != 0 ? r : got != 10;
}
