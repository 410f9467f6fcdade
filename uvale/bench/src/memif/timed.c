/*
 * How long packets are under way over DPDK's memif: a sender that sends each packet when it is due, or a receiver that
 * compares the time in each packet with its own clock, as load.rs does with netmap's ports.
 *
 * timed [DPDK's options] -- LENGTH GROUP READY COUNT LATENCIES [PER_SECOND]
 *
 * The bench's shared memory is standard input: of LENGTH bytes, with the word that says whether to run at GROUP, where
 * to say that all is ready at READY, how many packets there were at COUNT, and the counters of the buckets at
 * LATENCIES. With PER_SECOND it sends so many packets a second, or as many as it can if that is 0; else it receives.
 *
 * RUN, QUIT, BITS, BUCKETS, MOST, LEN and STAMP are the bench's, and come by -D.
 */
#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#define PORT 0
#define SLOTS 1024
/* seconds until the receiver has answered */
#define CONNECTED 30

static const char *name;
static _Atomic uint32_t *group;
static _Atomic uint64_t *count;
static _Atomic uint32_t *latencies;
static struct rte_mempool *pool;

static void fail(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s: %s\n", name, what, why);
	exit(1);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Sleeps until the group runs; false: go home. */
static int wait_to_run(void)
{
	for (;;) {
		uint32_t seen = atomic_load_explicit(group, memory_order_acquire);
		struct timespec timeout = { .tv_nsec = 100000000 };

		if (seen == RUN)
			return 1;
		if (seen == QUIT)
			return 0;
		syscall(SYS_futex, group, FUTEX_WAIT, seen, &timeout, NULL, 0);
	}
}

static int running(void)
{
	return atomic_load_explicit(group, memory_order_relaxed) == RUN;
}

static void counted(uint32_t n)
{
	uint64_t sum = atomic_load_explicit(count, memory_order_relaxed);

	atomic_store_explicit(count, sum + n, memory_order_relaxed);
}

static uint64_t *stamp(struct rte_mbuf *packet)
{
	return rte_pktmbuf_mtod_offset(packet, uint64_t *, STAMP * 8);
}

/* Adds to the bucket of a latency in nanoseconds: histogram.rs says which one that is. */
static void add(uint64_t ns)
{
	uint64_t place = ns;

	if (ns >= 1u << BITS) {
		uint64_t doubling = 63 - (uint64_t)__builtin_clzll(ns) - BITS;

		place = (doubling << BITS) + (ns >> doubling);
	}
	if (place >= BUCKETS)
		place = BUCKETS - 1;
	uint32_t seen = atomic_load_explicit(&latencies[place], memory_order_relaxed);
	atomic_store_explicit(&latencies[place], seen + 1, memory_order_relaxed);
}

static void make_header(struct rte_mempool *of, void *unused, void *object, unsigned int i)
{
	struct rte_mbuf *packet = object;
	char *header = (char *)packet->buf_addr + RTE_PKTMBUF_HEADROOM;

	(void)of, (void)unused, (void)i;
	memset(header, 0, LEN);
	memcpy(header, "\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x08", 13);
}

static void pace(double per_second)
{
	struct rte_mbuf *packets[MOST];
	uint32_t held = 0;
	double per_ns = per_second / 1e9;

	while (wait_to_run()) {
		uint64_t start = now(), sent = 0;

		while (running()) {
			uint64_t time = now(), due = MOST;

			if (per_second != 0) {
				due = (uint64_t)((double)(time - start) * per_ns);
				due = due > sent ? RTE_MIN(due - sent, (uint64_t)MOST) : 0;
			}
			/* what found no room before goes first */
			if (held < due && rte_pktmbuf_alloc_bulk(pool, packets + held, due - held) == 0)
				held = due;
			uint32_t n = RTE_MIN((uint64_t)held, due);
			for (uint32_t i = 0; i < n; i++) {
				packets[i]->data_len = LEN;
				packets[i]->pkt_len = LEN;
				*stamp(packets[i]) = per_second == 0 ? time
					: start + (uint64_t)((double)(sent + 1 + i) / per_ns);
			}
			if (n == 0)
				continue;
			n = rte_eth_tx_burst(PORT, 0, packets, n);
			held -= n;
			memmove(packets, packets + n, held * sizeof(packets[0]));
			sent += n;
			counted(n);
		}
	}
}

static void receive(void)
{
	struct rte_mbuf *packets[MOST];

	while (wait_to_run()) {
		while (running()) {
			uint32_t n = rte_eth_rx_burst(PORT, 0, packets, MOST);

			if (n == 0)
				continue;
			uint64_t time = now();
			for (uint32_t i = 0; i < n; i++) {
				uint64_t due = *stamp(packets[i]);

				add(time > due ? time - due : 0);
			}
			rte_pktmbuf_free_bulk(packets, n);
			counted(n);
		}
	}
}

static void open_port(int sends)
{
	struct rte_eth_conf conf = { 0 };
	struct rte_eth_link link;
	time_t end = time(NULL) + CONNECTED;

	pool = rte_pktmbuf_pool_create("packets", 8191, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (pool == NULL)
		fail("packets", rte_strerror(rte_errno));
	rte_mempool_obj_iter(pool, make_header, NULL);
	if (rte_eth_dev_configure(PORT, 1, 1, &conf) < 0
	    || rte_eth_rx_queue_setup(PORT, 0, SLOTS, SOCKET_ID_ANY, NULL, pool) < 0
	    || rte_eth_tx_queue_setup(PORT, 0, SLOTS, SOCKET_ID_ANY, NULL) < 0
	    || rte_eth_dev_start(PORT) < 0)
		fail("net_memif", "the port cannot be set up");
	while (sends && (rte_eth_link_get_nowait(PORT, &link) < 0 || !link.link_status)) {
		if (time(NULL) > end)
			fail("net_memif", "the receiver does not answer");
		usleep(1000);
	}
}

int main(int argc, char **argv)
{
	int used = rte_eal_init(argc, argv);
	uint64_t numbers[5];
	char *board;

	name = argv[0];
	if (used < 0)
		fail("DPDK", rte_strerror(rte_errno));
	argc -= used;
	argv += used;
	if (argc != 6 && argc != 7)
		fail("options", "it is started by `uvale bench`");
	for (int i = 0; i < 5; i++)
		numbers[i] = strtoull(argv[i + 1], NULL, 10);
	board = mmap(NULL, numbers[0], PROT_READ | PROT_WRITE, MAP_SHARED, STDIN_FILENO, 0);
	if (board == MAP_FAILED)
		fail("standard input", strerror(errno));
	group = (_Atomic uint32_t *)(board + numbers[1]);
	_Atomic uint32_t *ready = (_Atomic uint32_t *)(board + numbers[2]);
	count = (_Atomic uint64_t *)(board + numbers[3]);
	latencies = (_Atomic uint32_t *)(board + numbers[4]);
	open_port(argc == 7);
	atomic_store_explicit(ready, (uint32_t)getpid(), memory_order_release);
	if (argc == 7)
		pace(strtod(argv[6], NULL));
	else
		receive();
	rte_eth_dev_stop(PORT);
	rte_eth_dev_close(PORT);
	rte_eal_cleanup();
	return 0;
}
