/*
 * closed PORT [handler]: opens the port and closes it, and lives on. With `handler` the close is in a signal
 * handler, and the next open, of nothing in particular, comes behind it.
 */
#include "../robust/robust.h"

static struct port port;

static void on_signal(int signal)
{
	(void)signal;
	close(port.fd);
}

int main(int argc, char **argv)
{
	CHECK(argc >= 2);
	stop_on_term();
	port = open_port(argv[1]);
	CHECK(ioctl(port.fd, NIOCRXSYNC, NULL) == 0);
	munmap(port.mem, port.size);
	if (argc > 2) {
		struct sigaction action = { .sa_handler = on_signal };
		sigaction(SIGUSR1, &action, NULL);
		raise(SIGUSR1);
		close(open("/dev/netmap", O_RDWR));
	} else {
		close(port.fd);
	}
	say("ready pid=%d", (int)getpid());
	while (!stopped)
		pause();
	say("end");
	return 0;
}
