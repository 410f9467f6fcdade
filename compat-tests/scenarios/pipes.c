/* The life of pipes: ends that come, go and come back, what is kept, sizes, rings, back-pressure, incomplete
 * packets. */
#include "scenario.h"

static void sizes(void)
{
	MUST_OPEN(m, "pq{1", .nr_tx_rings = 2, .nr_rx_rings = 3, .nr_tx_slots = 16, .nr_rx_slots = 64);
	OPEN(s, "pq}1", .nr_tx_rings = 9, .nr_tx_slots = 9);
	fact("slave", "%s rings %u,%u slots %u,%u", error_name(s.error), s.reg.nr_tx_rings, s.reg.nr_rx_rings,
		s.reg.nr_tx_slots,
		s.reg.nr_rx_slots);
	close_port(&s);
	struct nmreq_port_info_get info = { 0 };
	int error = request(NETMAP_REQ_PORT_INFO_GET, "pq}1", &info);
	fact("info", "%s rings %u,%u slots %u,%u", error_name(error), info.nr_tx_rings, info.nr_rx_rings, info.nr_tx_slots,
		info.nr_rx_slots);
	OPEN(slave_first, "pq}2", .nr_tx_rings = 2, .nr_rx_rings = 3, .nr_tx_slots = 16, .nr_rx_slots = 64);
	fact("slave_first", "%s rings %u,%u slots %u,%u", error_name(slave_first.error), slave_first.reg.nr_tx_rings,
		slave_first.reg.nr_rx_rings, slave_first.reg.nr_tx_slots, slave_first.reg.nr_rx_slots);
	OPEN(two, "pqtwo{3", .nr_tx_slots = 2, .nr_rx_slots = 1);
	fact("least", "%s slots %u,%u", error_name(two.error), two.reg.nr_tx_slots, two.reg.nr_rx_slots);
	if (!two.error) {
		fact_ring("least.tx", txring(&two, 0));
		fact_ring("least.rx", rxring(&two, 0));
		put(&two, 1);
		fact_error("least.txsync", txsync(&two));
		fact_ring("least.full", txring(&two, 0));
	}
}

/* What is on its way stays when either end goes, as long as the other is open. */
static void ends(void)
{
	MUST_OPEN(m, "pq{5");
	put(&m, 1);
	put(&m, 2);
	txsync(&m);
	put(&m, 3);
	MUST_OPEN(s, "pq}5");
	fact_received("before_slave", &s, 0);
	rxring(&s, 0)->head = rxring(&s, 0)->cur = 1;
	rxsync(&s);
	close_port(&s);
	fact_error("send_to_nobody", txsync(&m));
	fact_ring("m_tx", txring(&m, 0));
	MUST_OPEN(again, "pq}5");
	fact_ring("slave_rings", rxring(&again, 0));
	fact_received("again", &again, 0);
	close_port(&m);
	fact_received("master_gone", &again, 0);
	put_on(txring(&again, 0), mac_a, mac_b, 60, 4, 0);
	fact_error("to_gone_master", txsync(&again));
	MUST_OPEN(back, "pq{5");
	fact_ring("master_tx", txring(&back, 0));
	fact_received("master_back", &back, 0);
	close_port(&again);
	close_port(&back);
	settle();
	MUST_OPEN(fresh, "pq{5");
	fact_ring("fresh_tx", txring(&fresh, 0));
	fact_received("fresh", &fresh, 0);
}

static void back_pressure(void)
{
	MUST_OPEN(m, "pq{6", .nr_tx_slots = 8, .nr_rx_slots = 8);
	MUST_OPEN(s, "pq}6");
	for (int i = 0; i < 7; i++)
		put(&m, i);
	fact_error("fill", txsync(&m));
	fact_ring("full", txring(&m, 0));
	fact_error("again", txsync(&m));
	rxsync(&s);
	rxring(&s, 0)->head = rxring(&s, 0)->cur = 3;
	fact_error("not_synced", txsync(&m));
	fact_ring("not_synced.tx", txring(&m, 0));
	rxsync(&s);
	fact_error("synced", txsync(&m));
	fact_ring("synced.tx", txring(&m, 0));
	put(&m, 7);
	put(&m, 8);
	put(&m, 9);
	txsync(&m);
	fact_ring("refilled", txring(&m, 0));
	fact_received("in_order", &s, 0);
}

/* A chain is shown when it is complete. */
static void chains(void)
{
	MUST_OPEN(m, "pq{7", .nr_tx_slots = 8, .nr_rx_slots = 8);
	MUST_OPEN(s, "pq}7");
	struct netmap_ring *ring = txring(&m, 0);
	put_on(ring, mac_b, mac_a, 60, 1, 0);
	put_on(ring, mac_b, mac_a, 61, 2, NS_MOREFRAG);
	put_on(ring, NULL, NULL, 62, 3, NS_MOREFRAG);
	txsync(&m);
	fact_ring("tx", ring);
	fact_received("first_only", &s, 0);
	fact("poll", "%s", poll_result(s.fd, POLLIN, 0));
	drain(&s);
	fact("poll_drained", "%s", poll_result(s.fd, POLLIN, 20));
	put_on(ring, NULL, NULL, 63, 4, 0);
	txsync(&m);
	fact_received("complete", &s, 0);
	drain(&s);
	txsync(&m);
	/* one that fills the ring without an end */
	for (int i = 0; i < 7; i++)
		put_on(ring, i ? NULL : mac_b, mac_a, 64, i, NS_MOREFRAG);
	txsync(&m);
	fact_ring("endless", ring);
	fact_received("endless.rx", &s, 0);
	fact("endless.poll", "%s %s", poll_result(m.fd, POLLOUT, 0), poll_result(s.fd, POLLIN, 0));
}

/* Slots are handed over as they are: lengths, flags, ptr and buffers, there and back. */
static void slots(void)
{
	MUST_OPEN(m, "pq{8", .nr_tx_slots = 8, .nr_rx_slots = 8);
	MUST_OPEN(s, "pq}8");
	struct netmap_slot *out = &txring(&m, 0)->slot[0], *in = &rxring(&s, 0)->slot[0];
	uint32_t buffer = out->buf_idx;
	out->len = 65535;
	out->flags = 0xffdf;
	out->ptr = 0x1122334455667788ull;
	txring(&m, 0)->head = txring(&m, 0)->cur = 1;
	fact_error("txsync", txsync(&m));
	rxsync(&s);
	fact("received", "%u len %u flags 0x%x ptr 0x%llx same_buffer %d", available(rxring(&s, 0)), in->len, in->flags,
		(unsigned long long)in->ptr, in->buf_idx == buffer);
	fact("sender", "flags 0x%x", out->flags);
	in->len = 5;
	in->flags = NS_BUF_CHANGED | NS_REPORT;
	in->ptr = 9;
	in->buf_idx = 0xfffffff1;
	rxring(&s, 0)->head = rxring(&s, 0)->cur = 1;
	fact_error("rxsync", rxsync(&s));
	fact("released", "flags 0x%x", in->flags);
	txsync(&m);
	fact("given_back", "len %u flags 0x%x ptr %llu index_kept %d", out->len, out->flags, (unsigned long long)out->ptr,
		out->buf_idx == 0xfffffff1);
	out->buf_idx = in->buf_idx = buffer;
}

/* Single rings of pipes, and ends that have bound some rings only. */
static void rings(void)
{
	MUST_OPEN(m, "pq{9", .nr_tx_rings = 3, .nr_rx_rings = 3);
	OPEN(one, "pq}9", .nr_mode = NR_REG_ONE_NIC, .nr_ringid = 1);
	fact_error("one", one.error);
	for (unsigned i = 0; i < 3; i++)
		put_on(txring(&m, i), mac_b, mac_a, 60, 0x20 + (int)i, 0);
	fact_error("txsync", txsync(&m));
	fact("tx", "%u %u %u", txring(&m, 0)->tail, txring(&m, 1)->tail, txring(&m, 2)->tail);
	fact_received("ring1", &one, 1);
	fact("others", "%d %d", one.nifp->ring_ofs[0] != 0, one.nifp->ring_ofs[2] != 0);
	OPEN(two, "pq}9", .nr_mode = NR_REG_ONE_NIC, .nr_ringid = 2);
	fact_error("two", two.error);
	fact_received("ring2", &two, 2);
	OPEN(beyond, "pq}9", .nr_mode = NR_REG_ONE_NIC, .nr_ringid = 3);
	fact_error("beyond", beyond.error);
	OPEN(alone, "pq}9", .nr_mode = NR_REG_ONE_NIC, .nr_ringid = 0, .nr_flags = NR_EXCLUSIVE);
	fact_error("exclusive_zero", alone.error);
	OPEN(all, "pq}9");
	fact_error("all", all.error);
}

/* Pipes with the same id on different parents, on each other, and ids of any text. */
static void names(void)
{
	static const char *all[] = { "pq{a", "pq}a", "pq{A", "pq{ ", "pq{0", "pq{00", "pq{-1", "pr{a", "pq{a{b", "pq}a{b",
		"pq{a}b", ("pq{" "0123456789012345678901234567890123456789"), "lo{1", "pq*{1", "p:q{1", "vale9:p{1", "vale9{1" };
	char key[80];
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		OPEN(p, all[i]);
		snprintf(key, sizeof key, "name[%s]", all[i]);
		fact(key, "%s %s", error_name(p.error), p.error ? "" : p.nifp->ni_name);
		close_port(&p);
	}
	MUST_OPEN(first, "pq{x");
	MUST_OPEN(nested, "pq{x{y");
	fact("nested_memory", "%d", first.reg.nr_mem_id == nested.reg.nr_mem_id);
	/* the last { counts: this is pipe x}y of pq, not the other end of the one before */
	MUST_OPEN(peer, "pq{x}y");
	put(&nested, 7);
	txsync(&nested);
	fact_received("nested", &peer, 0);
}

SCENARIO("switch", "the life of pipes: sizes, ends, back-pressure, chains, slots, rings, names",
	{ "sizes", sizes }, { "ends", ends }, { "back_pressure", back_pressure }, { "chains", chains }, { "slots", slots },
	{ "rings", rings }, { "names", names })
