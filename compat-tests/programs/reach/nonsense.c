/*
 * System calls that are handed over, with arguments that make no sense, on ports of its own and on nothing. Whoever
 * serves it must not mind, and serve others meanwhile.
 *
 *   nonsense CALLS [SEED]
 *
 * Status 0 at the end; it may have closed its output by then.
 */
#include "../robust/robust.h"
#include <sys/stat.h>
#include <sys/syscall.h>

static uint64_t state;

static uint64_t number(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

#define ONE_OF(list) ((list)[number() % (sizeof(list) / sizeof *(list))])

static int fds[1 << 16]; /* four, and room for what is written there */
static char *edge; /* the last byte that is there */

static uint64_t address(void)
{
	static char room[1 << 16];
	const uint64_t all[] = { 0, 8, (uintptr_t)room, (uintptr_t)room + 1, (uintptr_t)edge, (uintptr_t)edge - 40,
				 UINT64_MAX, 1ull << 63, (uintptr_t)"/dev/netmap", (uintptr_t)fds };
	if (number() % 4 == 0) {
		for (size_t i = 0; i < sizeof room; i += 8) {
			uint64_t n = number() % 3 == 0 ? number() : number() % 200;
			memcpy(room + i, &n, sizeof n);
		}
	}
	return ONE_OF(all);
}

static uint64_t count(void)
{
	const uint64_t all[] = { 0, 1, 2, 3, 64, 1000, 65536, 65537, INT32_MAX, UINT32_MAX, UINT64_MAX };
	return ONE_OF(all);
}

static uint64_t descriptor(void)
{
	const uint64_t all[] = { (uint64_t)fds[0], (uint64_t)fds[1], (uint64_t)fds[2], (uint64_t)fds[3], 900, UINT32_MAX,
				 UINT64_MAX, INT32_MAX };
	return ONE_OF(all);
}

static void reopen(void)
{
	for (int i = 0; i < 3; i++) {
		struct nmreq_register reg = { .nr_mode = NR_REG_ALL_NIC };
		char name[16];
		if (fcntl(fds[i], F_GETFD) >= 0 && number() % 64 != 0)
			continue;
		close(fds[i]);
		fds[i] = open("/dev/netmap", O_RDWR);
		snprintf(name, sizeof name, "vale9:n%d", i);
		if (fds[i] >= 0 && number() % 2)
			bind_to(fds[i], name, &reg);
	}
	if (fcntl(fds[3], F_GETFD) < 0)
		fds[3] = epoll_create1(0);
}

static void call_something(void)
{
	const unsigned requests[] = { NIOCCTRL, NIOCTXSYNC, NIOCRXSYNC, NIOCREGIF, NIOCGINFO, 'i' << 8 | 140 };
	switch (number() % 14) {
	case 0: case 1: case 2:
		syscall(SYS_ioctl, descriptor(), ONE_OF(requests), address());
		break;
	case 3:
		syscall(SYS_ppoll, address(), count(), address(), 0, 0);
		break;
	case 4:
		syscall(SYS_pselect6, count(), address(), address(), address(), address(), 0);
		break;
	case 5:
		syscall(SYS_epoll_ctl, descriptor(), number() % 5, descriptor(), address());
		break;
	case 6:
		syscall(SYS_epoll_pwait, descriptor(), address(), count(), number() % 3, 0, 8);
		break;
	case 7:
		syscall(SYS_openat, AT_FDCWD, address(), number() & ~(uint64_t)(O_CREAT | O_TRUNC), 0);
		break;
	case 8:
		syscall(SYS_newfstatat, descriptor(), address(), address(), number());
		break;
	case 9:
		syscall(SYS_statx, descriptor(), address(), number(), number(), address());
		break;
	case 10: {
		void *at = mmap(NULL, (size_t)count(), PROT_READ | PROT_WRITE, MAP_SHARED, (int)descriptor(),
				(off_t)(number() % 4 ? 0 : number() & ~(uint64_t)4095));
		if (at != MAP_FAILED && number() % 2)
			munmap(at, 4096);
		break;
	}
	case 11:
		if (number() % 8 == 0)
			syscall(SYS_close, descriptor());
		break;
	case 12:
		if (number() % 8 == 0)
			syscall(SYS_dup3, descriptor(), 800 + number() % 100, 0);
		break;
	case 13:
		syscall(SYS_sendmsg, descriptor(), address(), MSG_DONTWAIT);
		break;
	}
}

int main(int argc, char **argv)
{
	unsigned calls = argc > 1 ? (unsigned)atoi(argv[1]) : 1000;
	struct itimerval often = { .it_interval.tv_usec = 3000, .it_value.tv_usec = 3000 };
	struct sigaction action = { .sa_handler = on_alarm };

	state = argc > 2 ? strtoull(argv[2], NULL, 0) * 2654435761u + 88172645463325252u : 88172645463325252u;
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(pages != MAP_FAILED && munmap(pages + 4096, 4096) == 0);
	edge = pages + 4095;
	fds[0] = fds[1] = fds[2] = fds[3] = -1;
	sigaction(SIGALRM, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	/* what waits is interrupted */
	setitimer(ITIMER_REAL, &often, NULL);
	for (unsigned i = 0; i < calls; i++) {
		reopen();
		call_something();
		if (i % 1024 == 1023)
			syscall(SYS_close_range, 800, 950, 0);
	}
	return 0;
}
