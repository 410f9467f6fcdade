/* Calls of a program that has nothing to do with netmap: each of six, `argv[1]` times. */
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <fcntl.h>

int main(int argc, char **argv)
{
	int ends[2], zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY), set = epoll_create1(0);
	char byte = 0;

	if (argc < 2 || pipe(ends) != 0 || zero < 0 || null < 0 || set < 0)
		return 1;
	for (long i = atol(argv[1]); i > 0; i--) {
		struct pollfd entry = { ends[0], POLLIN, 0 };
		struct epoll_event event;
		int n;
		if (read(zero, &byte, 1) != 1 || write(null, &byte, 1) != 1 || poll(&entry, 1, 0) != 0 ||
		    ioctl(ends[0], FIONREAD, &n) != 0 || epoll_wait(set, &event, 1, 0) != 0 || close(900) == 0)
			return 2;
	}
	return 0;
}
