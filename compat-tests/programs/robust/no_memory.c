/*
 * A program that may map no more memory: REGISTER is ENOMEM and binds nothing, whatever it is that does not fit, and
 * works on the same descriptor when there is room again.
 */
#include "robust.h"
#include <sys/resource.h>

/* Bytes that are mapped. */
static rlim_t mapped(void)
{
	unsigned long pages;
	FILE *f = fopen("/proc/self/statm", "r");
	CHECK(f != NULL && fscanf(f, "%lu", &pages) == 1);
	fclose(f);
	return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

static void allow(rlim_t bytes)
{
	struct rlimit limit;
	CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
	limit.rlim_cur = bytes;
	CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
}

static int bind_four_rings(int fd)
{
	struct nmreq_register reg;
	memset(&reg, 0, sizeof reg);
	reg.nr_mode = NR_REG_ALL_NIC;
	reg.nr_tx_rings = reg.nr_rx_rings = 4;
	reg.nr_tx_slots = reg.nr_rx_slots = 64;
	return bind_to(fd, "vale0:a", &reg);
}

int main(void)
{
	struct port other = open_port("vale0:other");
	unsigned refused = 0, step = 24 << 10;
	int e = ENOMEM;

	for (rlim_t more = 0; e != 0; more += step) {
		CHECK(more < 1u << 30);
		int fd = open("/dev/netmap", O_RDWR);
		CHECK(fd >= 0);
		allow(mapped() + more);
		e = bind_four_rings(fd);
		allow(RLIM_INFINITY);
		if (e != 0) {
			errno = e;
			CHECK(e == ENOMEM);
			refused++;
			errno = bind_four_rings(fd);
			CHECK(errno == 0);
		}
		close(fd);
	}
	CHECK(refused > 0);
	close_port(&other);
	say("ok %u", refused);
	return 0;
}
