/* poll, select and epoll on every kind of port in every state of its rings. */
#include "scenario.h"

#define SHORT_MS 20

/* All ways to wait, none of which finds more than the others. `state` begins the keys. */
static void all_ways(const char *state, int fd)
{
	static const struct { const char *name; int events; } asked[] = {
		{ "0", 0 }, { "IN", POLLIN }, { "OUT", POLLOUT }, { "INOUT", POLLIN | POLLOUT }, { "RDNORM", POLLRDNORM },
		{ "WRNORM", POLLWRNORM }, { "PRI", POLLPRI }, { "RDHUP_IN", POLLRDHUP | POLLIN },
	};
	char key[64], text[512];
	int used = 0;
	for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
		used += snprintf(text + used, sizeof text - (size_t)used, "%s%s=%s", i ? " " : "", asked[i].name,
			poll_result(fd, asked[i].events, SHORT_MS));
	snprintf(key, sizeof key, "%s.poll", state);
	fact(key, "%s", text);
	snprintf(key, sizeof key, "%s.select", state);
	fact(key, "R=%s W=%s RW=%s X=%s", select_result(fd, 1, 0, SHORT_MS), select_result(fd, 0, 1, SHORT_MS),
		select_result(fd, 1, 1, SHORT_MS), select_result(fd, 0, 0, SHORT_MS));
	snprintf(key, sizeof key, "%s.epoll", state);
	fact(key, "0=%s IN=%s OUT=%s INOUT=%s ET=%s ONESHOT=%s", epoll_result(fd, 0, SHORT_MS),
		epoll_result(fd, EPOLLIN, SHORT_MS),
		epoll_result(fd, EPOLLOUT, SHORT_MS), epoll_result(fd, EPOLLIN | EPOLLOUT, SHORT_MS),
		epoll_result(fd, EPOLLIN | EPOLLOUT | EPOLLET, SHORT_MS), epoll_result(fd, EPOLLIN | EPOLLONESHOT, SHORT_MS));
}

static void unbound(void)
{
	int fd = open_device();
	all_ways("never_bound", fd);
	struct nmreq_register reg = { .nr_mode = 99 };
	request_on(fd, NETMAP_REQ_REGISTER, "valep:a", &reg);
	all_ways("refused", fd);
	close(fd);
	fact("closed", "%s", poll_result(fd, POLLIN, 0));
}

/* The life of two ports that are joined: nothing, one packet, consumed, full, peer gone. */
static void pair_states(const char *a_name, const char *b_name)
{
	MUST_OPEN(a, a_name);
	MUST_OPEN(b, b_name);
	all_ways("fresh", b.fd);
	put(&a, 1);
	txsync(&a);
	all_ways("one_packet", b.fd);
	fact_ring("one_packet.rx", rxring(&b, 0));
	struct netmap_ring *rx = rxring(&b, 0);
	rx->cur = rx->tail;
	all_ways("seen", b.fd);
	fact_ring("seen.rx", rx);
	rx->head = rx->tail;
	all_ways("released", b.fd);
	fact_ring("released.rx", rx);
	/* twice: a pipe's sender hears of released slots when it syncs */
	for (int round = 0; round < 2; round++) {
		while (available(txring(&a, 0)))
			put(&a, 2);
		fact_error("fill", txsync(&a));
	}
	fact_ring("full.tx", txring(&a, 0));
	all_ways("full_sender", a.fd);
	fact_ring("full.tx_after", txring(&a, 0));
	all_ways("full_receiver", b.fd);
	rx->head = rx->cur = next_slot(rx, rx->head);
	all_ways("one_released_unsynced_sender", a.fd);
	rxsync(&b);
	all_ways("one_released_sender", a.fd);
	fact_ring("one_released.tx", txring(&a, 0));
	close_port(&a);
	all_ways("peer_gone", b.fd);
	drain(&b);
	all_ways("peer_gone_drained", b.fd);
	close_port(&b);
}

static void vale(void) { pair_states("valep:a", "valep:b"); }
static void pipe_pair(void) { pair_states("pp{1", "pp}1"); }

/* A pipe end whose other end nobody has opened. */
static void pipe_alone(void)
{
	MUST_OPEN(a, "pp{2");
	all_ways("fresh", a.fd);
	while (available(txring(&a, 0)))
		put(&a, 3);
	txsync(&a);
	all_ways("full", a.fd);
	MUST_OPEN(b, "pp}2");
	all_ways("other_end", b.fd);
	drain(&b);
	all_ways("drained", a.fd);
}

static void null_port(void)
{
	OPEN(none, "", .nr_mode = NR_REG_NULL, .nr_mem_id = 1);
	fact_error("no_rings.open", none.error);
	all_ways("no_rings", none.fd);
	close_port(&none);
	OPEN(some, "", .nr_mode = NR_REG_NULL, .nr_mem_id = 1, .nr_tx_rings = 1, .nr_rx_rings = 1, .nr_tx_slots = 8,
		.nr_rx_slots = 8);
	fact_error("rings.open", some.error);
	all_ways("rings", some.fd);
	while (available(txring(&some, 0)))
		put(&some, 1);
	fact_error("rings.txsync", txsync(&some));
	fact_ring("rings.tx", txring(&some, 0));
	all_ways("rings_full", some.fd);
}

/* What is asked of one side only when the port has rings of the other side only. */
static void one_side(void)
{
	OPEN(tx, "valep:t", .nr_flags = NR_TX_RINGS_ONLY);
	all_ways("tx_only", tx.fd);
	OPEN(rx, "valep:r", .nr_flags = NR_RX_RINGS_ONLY);
	all_ways("rx_only", rx.fd);
	put_on(txring(&tx, 0), mac_all, mac_a, 60, 7, 0);
	fact("sends_by_poll", "%s", poll_result(tx.fd, POLLIN, 0));
	all_ways("rx_only_packet", rx.fd);
	OPEN(neither, "valep:n", .nr_flags = NR_TX_RINGS_ONLY | NR_RX_RINGS_ONLY);
	all_ways("neither", neither.fd);
	OPEN(pipe_tx, "pp{3", .nr_flags = NR_TX_RINGS_ONLY);
	all_ways("pipe_tx_only", pipe_tx.fd);
	OPEN(pipe_rx, "pp}3", .nr_flags = NR_RX_RINGS_ONLY);
	all_ways("pipe_rx_only", pipe_rx.fd);
}

/* Which of the pending packets a poll sends, by flags and events; on a switch and on a pipe. */
static void flushes(const char *a_name, const char *b_name)
{
	static const struct { const char *key; uint64_t flags; } kinds[] = {
		{ "default", 0 }, { "no_tx_poll", NR_NO_TX_POLL }, { "do_rx_poll", NR_DO_RX_POLL },
	};
	static const struct { const char *key; int events; } asked[] = {
		{ "0", 0 }, { "IN", POLLIN }, { "OUT", POLLOUT }, { "PRI", POLLPRI },
	};
	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
		MUST_OPEN(a, a_name, .nr_flags = kinds[k].flags);
		MUST_OPEN(b, b_name);
		for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
			char key[64];
			put(&a, 5);
			const char *answer = poll_result(a.fd, asked[i].events, 0);
			rxsync(&b);
			snprintf(key, sizeof key, "%s.%s", kinds[k].key, asked[i].key);
			fact(key, "%s arrived %u", answer, available(rxring(&b, 0)));
			txsync(&a);
			drain(&b);
		}
		put(&a, 6);
		fact("select_none", "%s", select_result(a.fd, 0, 0, 0));
		rxsync(&b);
		fact("select_none.arrived", "%u", available(rxring(&b, 0)));
		close_port(&a);
		close_port(&b);
	}
}

static void flushes_vale(void) { flushes("valep:a", "valep:b"); }
static void flushes_pipe(void) { flushes("pp{4", "pp}4"); }

/* A bad head: poll says POLLERR where sync says nothing, and goes on with the other rings. */
static void bad_heads(const char *a_name, const char *b_name)
{
	MUST_OPEN(a, a_name, .nr_tx_rings = 2, .nr_rx_rings = 2);
	MUST_OPEN(b, b_name, .nr_tx_rings = 2, .nr_rx_rings = 2);
	txring(&a, 0)->head = 5000;
	txring(&a, 0)->cur = 5000;
	put_on(txring(&a, 1), mac_b, mac_a, 60, 9, 0);
	fact("tx", "%s", poll_result(a.fd, POLLIN | POLLOUT, 0));
	fact_ring("tx0", txring(&a, 0));
	fact_ring("tx1", txring(&a, 1));
	fact("tx.again", "%s", poll_result(a.fd, POLLIN | POLLOUT, 0));
	txring(&a, 0)->cur = 5000;
	fact("tx_select", "%s", select_result(a.fd, 1, 1, 0));
	txring(&a, 0)->cur = 5000;
	fact("tx_epoll", "%s", epoll_result(a.fd, EPOLLIN | EPOLLOUT, 0));
	txring(&a, 0)->cur = 5000;
	fact("tx_polled_for_nothing", "%s", poll_result(a.fd, 0, 0));
	fact("tx_again_for_nothing", "%s", poll_result(a.fd, 0, 0));
	rxring(&b, 0)->head = 5000;
	fact("rx", "%s", poll_result(b.fd, POLLIN, 0));
	fact_ring("rx0", rxring(&b, 0));
	fact("rx.again", "%s", poll_result(b.fd, POLLIN, 0));
	fact_ring("rx0.again", rxring(&b, 0));
	fact_ring("rx1", rxring(&b, 1));
	rxring(&b, 0)->head = 5000;
	fact("rx_asked_out", "%s", poll_result(b.fd, POLLOUT, 0));
	fact_ring("rx_asked_out.rx0", rxring(&b, 0));
}

static void bad_heads_vale(void) { bad_heads("valep:a", "valep:b"); }
static void bad_heads_pipe(void) { bad_heads("pp{5", "pp}5"); }

SCENARIO("switch", "poll, select and epoll on every kind of port in every ring state",
	{ "unbound", unbound }, { "vale", vale }, { "pipe", pipe_pair }, { "pipe_alone", pipe_alone },
	{ "null_port", null_port }, { "one_side", one_side }, { "flushes_vale", flushes_vale },
	{ "flushes_pipe", flushes_pipe }, { "bad_heads_vale", bad_heads_vale }, { "bad_heads_pipe", bad_heads_pipe })
