/*
 * What a sync costs by notification, against a call that is handed over and is nobody's.
 *
 *   cost CALLS
 *
 * Lines: "NAME ns=N" a call, of as many calls as asked for.
 */
#include "../robust/robust.h"

static uint64_t nanoseconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

#define EACH 100

int main(int argc, char **argv)
{
	unsigned calls = argc > 1 ? (unsigned)atoi(argv[1]) : 1000;
	struct port a = open_port("vale0:a"), b = open_port("vale0:b");
	uint64_t seq = 0, begun, spent[3] = { 0 };

	send_one(&a, 0xff, 1, &seq);
	calls = (calls + EACH - 1) / EACH * EACH;
	for (unsigned i = 0; i < calls; i += EACH) {
		begun = nanoseconds();
		for (int j = 0; j < EACH; j++)
			CHECK(ioctl(-1, NIOCTXSYNC, NULL) == -1 && errno == EBADF);
		spent[0] += nanoseconds() - begun;

		begun = nanoseconds();
		for (int j = 0; j < EACH; j++)
			CHECK(ioctl(a.fd, NIOCTXSYNC, NULL) == 0);
		spent[1] += nanoseconds() - begun;

		for (int j = 0; j < EACH; j++) {
			CHECK(ioctl(b.fd, NIOCRXSYNC, NULL) == 0);
			rx_ring(&b, 0)->head = rx_ring(&b, 0)->cur = rx_ring(&b, 0)->tail;
			CHECK(ioctl(b.fd, NIOCRXSYNC, NULL) == 0);
			CHECK(fill_ring(tx_ring(&a, 0), 256, SHORTEST, 1, 0xff, 1, &seq) == 256);
			begun = nanoseconds();
			CHECK(ioctl(a.fd, NIOCTXSYNC, NULL) == 0);
			spent[2] += nanoseconds() - begun;
		}
	}
	say("nobody ns=%llu", (unsigned long long)spent[0] / calls);
	say("nothing ns=%llu", (unsigned long long)spent[1] / calls);
	say("batch ns=%llu", (unsigned long long)spent[2] / calls);
	return 0;
}
