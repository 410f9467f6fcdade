/*
 * closed PORT [HOW]: opens the port and closes it, and lives on. HOW is close, dup2, close_range or closefrom; with
 * `handler` the close is in a signal handler, and the next open, of nothing in particular, comes behind it.
 */
#define _GNU_SOURCE
#include "../robust/robust.h"

static struct port port;

static void on_signal(int signal)
{
	(void)signal;
	close(port.fd);
}

int main(int argc, char **argv)
{
	const char *how = argc > 2 ? argv[2] : "close";

	CHECK(argc >= 2);
	stop_on_term();
	port = open_port(argv[1]);
	CHECK(ioctl(port.fd, NIOCRXSYNC, NULL) == 0);
	munmap(port.mem, port.size);
	if (strcmp(how, "handler") == 0) {
		struct sigaction action = { .sa_handler = on_signal };
		sigaction(SIGUSR1, &action, NULL);
		raise(SIGUSR1);
		close(open("/dev/netmap", O_RDWR));
	} else if (strcmp(how, "dup2") == 0) {
		CHECK(dup2(0, port.fd) == port.fd);
	} else if (strcmp(how, "close_range") == 0) {
		CHECK(close_range(3, ~0U, 0) == 0);
	} else if (strcmp(how, "closefrom") == 0) {
		closefrom(3);
	} else {
		close(port.fd);
	}
	say("ready pid=%d", (int)getpid());
	while (!stopped)
		pause();
	say("end");
	return 0;
}
