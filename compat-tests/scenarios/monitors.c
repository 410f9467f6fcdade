/* Monitors in motion: what a copying and a zero-copy monitor see of a port's traffic, when, and when they are full. */
#include "scenario.h"

#define COPY_TX NR_MONITOR_TX
#define COPY_RX NR_MONITOR_RX
#define ZERO_COPY (NR_ZCOPY_MON | NR_MONITOR_TX | NR_MONITOR_RX)

/* A packet with a tag, on ring 0, synced. */
static void send_one(struct port *from, int tag)
{
	put(from, tag);
	txsync(from);
}

static void copy_tx(const char *a_name, const char *b_name)
{
	MUST_OPEN(a, a_name);
	MUST_OPEN(b, b_name);
	send_one(&a, 0x10);
	MUST_OPEN(m, a_name, .nr_flags = COPY_TX);
	fact("monitor", "tx_rings %u rx_rings %u own_mem %d", m.reg.nr_tx_rings, m.reg.nr_rx_rings,
		m.reg.nr_mem_id != a.reg.nr_mem_id);
	fact_received("before", &m, 0);
	send_one(&a, 0x11);
	put_on(txring(&a, 0), mac_b, mac_a, 100, 0x12, NS_REPORT);
	fact_received("unsent", &m, 0);
	txsync(&a);
	fact_received("seen", &m, 0);
	fact_received("peer", &b, 0);
	/* what comes in is not its business */
	put_on(txring(&b, 0), mac_a, mac_b, 60, 0x13, 0);
	txsync(&b);
	rxsync(&a);
	fact_received("incoming", &m, 0);
	drain(&m);
	put(&a, 0x14);
	fact("sent_by_poll", "%s", poll_result(a.fd, POLLIN, 0));
	fact_received("seen_by_poll", &m, 0);
	drain(&m);
	close_port(&m);
	send_one(&a, 0x15);
	fact("after", "%u", drain(&b));
}

static void copy_tx_vale(void) { copy_tx("valem:a", "valem:b"); }
static void copy_tx_pipe(void) { copy_tx("mp{1", "mp}1"); }

static void copy_rx(const char *a_name, const char *b_name)
{
	MUST_OPEN(a, a_name);
	MUST_OPEN(b, b_name);
	send_one(&a, 0x20);
	MUST_OPEN(m, b_name, .nr_flags = COPY_RX);
	send_one(&a, 0x21);
	/* at once, though the port itself has not looked */
	fact_ring("port_before", rxring(&b, 0));
	fact_received("seen", &m, 0);
	fact_received("port", &b, 0);
	drain(&b);
	fact_received("again", &m, 0);
	drain(&m);
	send_one(&a, 0x22);
	send_one(&a, 0x23);
	fact("poll_monitor", "%s", poll_result(m.fd, POLLIN, LONG_MS));
	fact_ring("polled", rxring(&m, 0));
	fact_received("both", &m, 0);
	/* what it sends is not its business */
	put_on(txring(&b, 0), mac_a, mac_b, 60, 0x24, 0);
	txsync(&b);
	fact_received("outgoing", &m, 0);
}

static void copy_rx_vale(void) { copy_rx("valem:a", "valem:b"); }
static void copy_rx_pipe(void) { copy_rx("mp{2", "mp}2"); }

static void copy_both(const char *a_name, const char *b_name)
{
	MUST_OPEN(a, a_name);
	MUST_OPEN(b, b_name);
	MUST_OPEN(m, a_name, .nr_flags = COPY_TX | COPY_RX);
	send_one(&a, 0x31);
	put_on(txring(&b, 0), mac_a, mac_b, 70, 0x32, 0);
	txsync(&b);
	send_one(&a, 0x33);
	fact_received("in_order", &m, 0);
}

static void copy_both_vale(void) { copy_both("valem:a", "valem:b"); }
static void copy_both_pipe(void) { copy_both("mp{3", "mp}3"); }

/* A zero-copy monitor sees a packet when the port is done with it, and gets its buffer. */
static void zero_copy(const char *a_name, const char *b_name)
{
	MUST_OPEN(a, a_name);
	MUST_OPEN(b, b_name);
	MUST_OPEN(m, a_name, .nr_flags = ZERO_COPY);
	uint32_t sent_in = txring(&a, 0)->slot[0].buf_idx, free_in = rxring(&m, 0)->slot[0].buf_idx;
	fact("same_memory", "%d", m.reg.nr_mem_id == a.reg.nr_mem_id);
	send_one(&a, 0x41);
	fact_received("sent", &m, 0);
	fact_received("peer", &b, 0);
	drain(&b);
	fact_received("released", &m, 0);
	txsync(&a);
	fact_received("synced", &m, 0);
	struct netmap_slot *slot = &txring(&a, 0)->slot[0];
	fact("tx_slot", "len %u flags 0x%x has_monitors_buffer %d", slot->len, slot->flags, slot->buf_idx == free_in);
	fact("monitors_slot", "has_senders_buffer %d", rxring(&m, 0)->slot[0].buf_idx == sent_in);
	drain(&m);
	/* the other way: when the port releases what it has received */
	put_on(txring(&b, 0), mac_a, mac_b, 80, 0x42, 0);
	txsync(&b);
	fact_received("port", &a, 0);
	fact_received("not_released", &m, 0);
	rxring(&a, 0)->head = rxring(&a, 0)->cur = rxring(&a, 0)->tail;
	fact_received("released_not_synced", &m, 0);
	rxsync(&a);
	fact_received("rx_released", &m, 0);
	slot = &rxring(&a, 0)->slot[0];
	fact("rx_slot", "flags 0x%x", slot->flags);
	close_port(&m);
	send_one(&a, 0x43);
	fact("after", "%u", drain(&b));
}

static void zero_copy_vale(void) { zero_copy("valem:a", "valem:b"); }
static void zero_copy_pipe(void) { zero_copy("mp{4", "mp}4"); }

/* Several on one ring: copies for each; zero-copy monitors stand in a row. */
static void several(void)
{
	MUST_OPEN(a, "valem:a");
	MUST_OPEN(b, "valem:b");
	MUST_OPEN(first, "valem:a", .nr_flags = COPY_TX);
	MUST_OPEN(second, "valem:a", .nr_flags = COPY_TX);
	MUST_OPEN(zero, "valem:a", .nr_flags = ZERO_COPY);
	MUST_OPEN(behind, "valem:a", .nr_flags = ZERO_COPY);
	send_one(&a, 0x51);
	fact_received("first", &first, 0);
	fact_received("second", &second, 0);
	fact_received("zero", &zero, 0);
	fact_received("behind", &behind, 0);
	drain(&zero);
	fact_received("behind_released", &behind, 0);
	close_port(&first);
	send_one(&a, 0x52);
	fact_received("second_alone", &second, 0);
	drain(&zero);
	fact_received("behind_two", &behind, 0);
	close_port(&zero);
	settle();
	send_one(&a, 0x53);
	fact_received("behind_first_gone", &behind, 0);
	fact("receiver", "%u", drain(&b));
}

/* A monitor that does not read keeps what it has; of a batch that does not fit the last ones are kept. */
static void overflow(const char *a_name, const char *b_name)
{
	MUST_OPEN(a, a_name);
	MUST_OPEN(b, b_name);
	MUST_OPEN(m, a_name, .nr_flags = COPY_TX, .nr_rx_slots = 8);
	fact("slots", "%u", rxring(&m, 0)->num_slots);
	for (int i = 0; i < 10; i++)
		put(&a, 0x60 + i);
	fact_error("txsync", txsync(&a));
	fact_received("last_seven", &m, 0);
	send_one(&a, 0x70);
	fact_received("full", &m, 0);
	rxring(&m, 0)->head = rxring(&m, 0)->cur = 3;
	rxsync(&m);
	for (int i = 0; i < 5; i++)
		put(&a, 0x71 + i);
	txsync(&a);
	fact_received("three_more", &m, 0);
	fact("receiver", "%u", drain(&b));
}

static void overflow_vale(void) { overflow("valem:a", "valem:b"); }
static void overflow_pipe(void) { overflow("mp{5", "mp}5"); }

/* Fragments and lengths come through as they are in the slots. */
static void odd_slots(void)
{
	MUST_OPEN(a, "valem:a");
	MUST_OPEN(b, "valem:b");
	MUST_OPEN(t, "valem:a", .nr_flags = COPY_TX);
	MUST_OPEN(r, "valem:b", .nr_flags = COPY_RX);
	struct netmap_ring *ring = txring(&a, 0);
	put_on(ring, mac_b, mac_a, 100, 1, NS_MOREFRAG);
	put_on(ring, NULL, NULL, 200, 2, NS_MOREFRAG);
	put_on(ring, NULL, NULL, 50, 3, 0);
	put_on(ring, mac_b, mac_a, 0, 4, 0);
	put_on(ring, mac_b, mac_a, 13, 5, 0);
	put_on(ring, mac_b, mac_a, 4000, 6, 0);
	put_on(ring, mac_b, mac_a, 60, 7, NS_TXMON | NS_BUF_CHANGED);
	txsync(&a);
	fact_received("sender", &t, 0);
	fact_received("receiver", &r, 0);
	fact_received("port", &b, 0);
	fact("slot_flags", "0x%x", ring->slot[6].flags);
}

/* One ring of several, and rings that the monitored port does not have. */
static void rings(void)
{
	MUST_OPEN(a, "valem:a", .nr_tx_rings = 2, .nr_rx_rings = 3);
	MUST_OPEN(b, "valem:b");
	OPEN(all, "valem:a", .nr_flags = COPY_TX);
	fact("all", "%s tx %u rx %u", error_name(all.error), all.reg.nr_tx_rings, all.reg.nr_rx_rings);
	OPEN(one, "valem:a", .nr_flags = COPY_TX, .nr_mode = NR_REG_ONE_NIC, .nr_ringid = 1);
	fact("one", "%s tx %u rx %u", error_name(one.error), one.reg.nr_tx_rings, one.reg.nr_rx_rings);
	OPEN(beyond, "valem:a", .nr_flags = COPY_TX, .nr_mode = NR_REG_ONE_NIC, .nr_ringid = 3);
	fact_error("beyond", beyond.error);
	put_on(txring(&a, 0), mac_b, mac_a, 60, 0x80, 0);
	put_on(txring(&a, 1), mac_b, mac_a, 60, 0x81, 0);
	txsync(&a);
	fact_received("all.0", &all, 0);
	fact_received("all.1", &all, 1);
	fact_received("one.1", &one, 1);
	OPEN(host, "valem:a", .nr_flags = COPY_TX, .nr_mode = NR_REG_SW);
	fact_error("host", host.error);
}

/* What a monitor can do as a port, and what it hears of the monitored port's end. */
static void as_port(void)
{
	MUST_OPEN(a, "valem:a");
	MUST_OPEN(b, "valem:b");
	MUST_OPEN(m, "valem:a", .nr_flags = COPY_TX);
	fact("poll_in", "%s", poll_result(m.fd, POLLIN, 0));
	fact("poll_out", "%s", poll_result(m.fd, POLLOUT, 0));
	fact("poll_both", "%s", poll_result(m.fd, POLLIN | POLLOUT, 0));
	put_on(txring(&m, 0), mac_b, mac_a, 60, 1, 0);
	fact_error("txsync", txsync(&m));
	fact_ring("tx", txring(&m, 0));
	fact("poll_in_pending", "%s", poll_result(m.fd, POLLIN, 0));
	fact("sent", "%u", drain(&b));
	send_one(&a, 0x91);
	fact_received("published", &m, 0);
	send_one(&a, 0x92);
	int second = open_device();
	struct nmreq_register reg = { .nr_mode = NR_REG_ALL_NIC };
	fact_error("second_fd_of_port", request_on(second, NETMAP_REQ_REGISTER, "valem:a", &reg));
	close_port(&a);
	send_one(&b, 0);
	fact("poll_kept_open", "%s", poll_result(m.fd, POLLIN, 0));
	close(second);
	fact("poll_after_close", "%s", poll_result(m.fd, POLLIN, 0));
	fact_error("rxsync_after_close", rxsync(&m));
	fact_ring("rx_after_close", rxring(&m, 0));
	rxring(&m, 0)->head = rxring(&m, 0)->cur = rxring(&m, 0)->tail;
	fact("poll_drained", "%s", poll_result(m.fd, POLLIN, 0));
	OPEN(again, "valem:a");
	fact_error("reopened", again.error);
	send_one(&again, 0x93);
	fact("poll_reopened", "%s", poll_result(m.fd, POLLIN, 0));
}

/* A zero-copy monitor holds on to the port's memory; the port's name is free when the port is closed. */
static void port_goes_first(void)
{
	MUST_OPEN(a, "valem:a");
	MUST_OPEN(z, "valem:a", .nr_flags = ZERO_COPY);
	MUST_OPEN(c, "valem:a", .nr_flags = COPY_RX);
	struct nmreq_port_hdr hdr = { 0 };
	fact_error("there", request(NETMAP_REQ_PORT_HDR_GET, "valem:a", &hdr));
	close_port(&a);
	fact_error("gone", request(NETMAP_REQ_PORT_HDR_GET, "valem:a", &hdr));
	fact("zero_copy", "%s", poll_result(z.fd, POLLIN, 0));
	fact("copy", "%s", poll_result(c.fd, POLLIN, 0));
	fact("slots", "%u", rxring(&z, 0)->num_slots);
	OPEN(new_port, "valem:a");
	fact("new_port", "%s other_memory %d", error_name(new_port.error), new_port.reg.nr_mem_id != z.reg.nr_mem_id);
	close_port(&z);
	close_port(&c);
	OPEN(z2, "valem:a", .nr_flags = ZERO_COPY);
	fact_error("zero_copy_again", z2.error);
	send_one(&new_port, 0xa1);
	fact_received("works", &z2, 0);
}

/* Flags in and out of REGISTER, memory of its own choice, exclusive monitors, monitors of what cannot be monitored. */
static void registering(void)
{
	MUST_OPEN(a, "valem:a");
	OPEN(z, "valem:a", .nr_flags = NR_ZCOPY_MON);
	fact("zero_copy_flags", "%s 0x%llx", error_name(z.error), (unsigned long long)z.reg.nr_flags);
	close_port(&z);
	OPEN(x, "valem:a", .nr_flags = COPY_TX | NR_EXCLUSIVE);
	OPEN(y, "valem:a", .nr_flags = COPY_TX | NR_EXCLUSIVE);
	fact("exclusive", "%s %s", error_name(x.error), error_name(y.error));
	close_port(&x);
	close_port(&y);
	OPEN(g, "valem:a", .nr_flags = COPY_TX, .nr_mem_id = 1);
	fact("memory", "%s own %d", error_name(g.error), g.reg.nr_mem_id > 1 && g.reg.nr_mem_id != a.reg.nr_mem_id);
	close_port(&g);
	OPEN(e, "valem:a", .nr_flags = COPY_TX, .nr_extra_bufs = 10);
	fact("extra", "%s %u", error_name(e.error), e.reg.nr_extra_bufs);
	close_port(&e);
	OPEN(tx_only, "valem:a", .nr_flags = COPY_TX | NR_TX_RINGS_ONLY);
	fact_error("tx_rings_only", tx_only.error);
	close_port(&tx_only);
	OPEN(null_port, "", .nr_mode = NR_REG_NULL, .nr_mem_id = 1, .nr_flags = COPY_TX, .nr_tx_rings = 1, .nr_rx_rings = 1,
		.nr_tx_slots = 8, .nr_rx_slots = 8);
	fact_error("null_port", null_port.error);
	close_port(&null_port);
	OPEN(pipe_end, "mp{9", .nr_flags = COPY_TX);
	fact_error("pipe_not_open", pipe_end.error);
	MUST_OPEN(p, "mp{9");
	OPEN(other_end, "mp}9", .nr_flags = COPY_TX);
	fact_error("other_end_not_open", other_end.error);
}

SCENARIO("switch", "monitors: copies and zero-copy, order, overflow, ends",
	{ "copy_tx_vale", copy_tx_vale }, { "copy_tx_pipe", copy_tx_pipe }, { "copy_rx_vale", copy_rx_vale },
	{ "copy_rx_pipe", copy_rx_pipe }, { "copy_both_vale", copy_both_vale }, { "copy_both_pipe", copy_both_pipe },
	{ "zero_copy_vale", zero_copy_vale }, { "zero_copy_pipe", zero_copy_pipe }, { "several", several },
	{ "overflow_vale", overflow_vale }, { "overflow_pipe", overflow_pipe }, { "odd_slots", odd_slots }, { "rings", rings },
	{ "as_port", as_port }, { "port_goes_first", port_goes_first }, { "registering", registering })
