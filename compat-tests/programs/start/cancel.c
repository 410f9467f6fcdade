/* Cancels threads that wait for packets, each in another call, and that sync. Exits 0 if all of them ended so. */
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/select.h>
#define NETMAP_WITH_LIBS
#include <net/netmap_user.h>

static int fd;

static void *waits(void *how)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct epoll_event e = { .events = EPOLLIN };
	int set = epoll_create1(0);
	fd_set s;

	epoll_ctl(set, EPOLL_CTL_ADD, fd, &e);
	for (;;) {
		switch (*(const char *)how) {
		case 'p':
			poll(&p, 1, -1);
			break;
		case 'e':
			epoll_wait(set, &e, 1, -1);
			break;
		case 's':
			FD_ZERO(&s);
			FD_SET(fd, &s);
			select(fd + 1, &s, NULL, NULL, NULL);
			break;
		default:
			ioctl(fd, NIOCRXSYNC, NULL);
			pthread_testcancel();
		}
	}
	return NULL;
}

int main(void)
{
	struct nm_desc *d = nm_open("vale0:a", NULL, 0, NULL);
	char how[] = "pesi";
	size_t i;

	if (d == NULL)
		return 9;
	fd = d->fd;
	for (i = 0; how[i]; i++) {
		pthread_t thread;
		void *ended;
		if (pthread_create(&thread, NULL, waits, &how[i]) != 0)
			return 8;
		usleep(100000);
		pthread_cancel(thread);
		if (pthread_join(thread, &ended) != 0 || ended != PTHREAD_CANCELED)
			return 7;
	}
	nm_close(d);
	return 0;
}
