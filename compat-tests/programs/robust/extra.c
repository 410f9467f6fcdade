/*
 * Extra buffers.
 *
 *   extra PORT N [MEM]   opens PORT in the memory of that id with up to N of them and counts those in the list
 *
 * Prints "ready got=N listed=N" and stays until SIGTERM.
 */
#include "robust.h"

int main(int argc, char **argv)
{
	struct port p;
	uint32_t listed = 0;

	CHECK(argc >= 3);
	stop_on_term();
	memset(&p, 0, sizeof p);
	p.reg.nr_extra_bufs = (uint32_t)atol(argv[2]);
	if (argc > 3)
		p.reg.nr_mem_id = (uint16_t)atoi(argv[3]);
	int e = try_port(&p, argv[1], 0);
	if (e != 0) {
		say("FAILED open: %s", strerror(e));
		return 2;
	}
	struct netmap_ring *any = NETMAP_TXRING(p.nif, 0);
	for (uint32_t at = p.nif->ni_bufs_head; at != 0; listed++) {
		CHECK(listed < p.reg.nr_extra_bufs);
		at = *(uint32_t *)NETMAP_BUF(any, at);
	}
	say("ready got=%u listed=%u", p.reg.nr_extra_bufs, listed);
	while (!stopped)
		pause();
	return 0;
}
