/* Ports whose packets begin with a virtio-net header: setting it, what is counted as the packet, ports that differ. */
#include "scenario.h"

static int set_length(const char *name, unsigned length)
{
	struct nmreq_port_hdr hdr = { .nr_hdr_len = length };
	return request(NETMAP_REQ_PORT_HDR_SET, name, &hdr);
}

static unsigned get_length(const char *name)
{
	struct nmreq_port_hdr hdr = { .nr_hdr_len = 777 };
	int error = request(NETMAP_REQ_PORT_HDR_GET, name, &hdr);
	return error ? 1000 + (unsigned)error : hdr.nr_hdr_len;
}

/* A header of zeros, then 60 bytes of a packet to everybody. */
static void put_with(struct port *port, unsigned header, unsigned length, int tag)
{
	struct netmap_ring *ring = txring(port, 0);
	struct netmap_slot *slot = &ring->slot[ring->head];
	uint8_t *data = (uint8_t *)NETMAP_BUF(ring, slot->buf_idx);
	memset(data, 0, header);
	memset(data + header, tag, 2000);
	memcpy(data + header, mac_all, 6);
	memcpy(data + header + 6, mac_a, 6);
	data[header + 12] = 0x88;
	data[header + 13] = 0xb5;
	slot->len = (uint16_t)length;
	slot->flags = 0;
	ring->head = ring->cur = next_slot(ring, ring->head);
}

static void lengths(void)
{
	static const unsigned tried[] = { 10, 12, 0, 11, 1, 14, 96, 65536 };
	char key[32];
	fact_error("not_open", set_length("valeh:a", 12));
	MUST_OPEN(a, "valeh:a");
	for (size_t i = 0; i < sizeof tried / sizeof *tried; i++) {
		snprintf(key, sizeof key, "set_%u", tried[i]);
		int error = set_length("valeh:a", tried[i]);
		fact(key, "%s %u", error_name(error), get_length("valeh:a"));
	}
	fact_error("bad_length_first", set_length("nope", 11));
	fact_error("no_prefix", set_length("nope", 12));
	fact_error("empty", set_length("", 12));
	set_length("valeh:a", 12);
	MUST_OPEN(m, "hp{1");
	fact("pipe", "%s %u", error_name(set_length("hp{1", 12)), get_length("hp{1"));
	MUST_OPEN(on_port, "valeh:a{1", .nr_flags = NR_ACCEPT_VNET_HDR);
	fact("pipe_on_port", "%u", get_length("valeh:a{1"));
	OPEN(without, "valeh:a");
	fact_error("open_without", without.error);
	close_port(&without);
	OPEN(with, "valeh:a", .nr_flags = NR_ACCEPT_VNET_HDR);
	fact_error("open_with", with.error);
	close_port(&with);
	OPEN(monitor, "valeh:a", .nr_flags = NR_MONITOR_TX);
	fact_error("monitor", monitor.error);
	close_port(&monitor);
	close_port(&on_port);
	close_port(&a);
	settle();
	MUST_OPEN(again, "valeh:a");
	fact("new_port", "%u", get_length("valeh:a"));
}

static void same_lengths(void)
{
	MUST_OPEN(a, "valeh:a");
	MUST_OPEN(b, "valeh:b");
	for (unsigned length = 10; length <= 12; length += 2) {
		char key[32];
		set_length("valeh:a", length);
		set_length("valeh:b", length);
		put_with(&a, length, length + 60, 1);
		put_with(&a, length, length + 14, 2);
		put_with(&a, length, length + 13, 3);
		put_with(&a, length, length, 4);
		put_with(&a, length, length - 1, 5);
		fact_error("txsync", txsync(&a));
		snprintf(key, sizeof key, "length_%u", length);
		fact_received(key, &b, 0);
		drain(&b);
		/* the header in a slot of its own, and split */
		put_with(&a, length, length, 6);
		txring(&a, 0)->slot[txring(&a, 0)->head ? txring(&a, 0)->head - 1 : 1023].flags = NS_MOREFRAG;
		put_on(txring(&a, 0), mac_all, mac_a, 60, 7, 0);
		put_with(&a, length, length - 4, 8);
		txring(&a, 0)->slot[txring(&a, 0)->head ? txring(&a, 0)->head - 1 : 1023].flags = NS_MOREFRAG;
		put_on(txring(&a, 0), mac_all, mac_a, 64, 9, 0);
		txsync(&a);
		snprintf(key, sizeof key, "own_slot_%u", length);
		fact_received(key, &b, 0);
		drain(&b);
	}
}

/* Plain packets between ports with different headers: the header goes, comes, or changes its length. */
static void other_lengths(void)
{
	static const struct { unsigned from, to; }
		pairs[] = { { 0, 10 }, { 0, 12 }, { 10, 0 }, { 12, 0 }, { 10, 12 }, { 12, 10 } };
	MUST_OPEN(a, "valeh:a");
	MUST_OPEN(b, "valeh:b");
	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
		char key[32], text[256];
		set_length("valeh:a", pairs[i].from);
		set_length("valeh:b", pairs[i].to);
		put_with(&a, pairs[i].from, pairs[i].from + 60, 0x61);
		put_with(&a, pairs[i].from, pairs[i].from + 1514, 0x62);
		fact_error("txsync", txsync(&a));
		rxsync(&b);
		struct netmap_ring *ring = rxring(&b, 0);
		int used = snprintf(text, sizeof text, "%u", available(ring));
		for (uint32_t s = ring->head; s != ring->tail; s = next_slot(ring, s)) {
			uint8_t *data = (uint8_t *)NETMAP_BUF(ring, ring->slot[s].buf_idx);
			unsigned set = 0, length = ring->slot[s].len;
			for (unsigned j = 0; j < pairs[i].to; j++)
				set |= data[j];
			used += snprintf(text + used, sizeof text - (size_t)used, " %u/0x%x header 0x%x packet %d last %02x", length,
				ring->slot[s].flags, set, !memcmp(data + pairs[i].to, mac_all, 6), length ? data[length - 1] : 0);
		}
		snprintf(key, sizeof key, "from_%u_to_%u", pairs[i].from, pairs[i].to);
		fact(key, "%s", text);
		drain(&b);
	}
}

SCENARIO("switch", "virtio-net headers on ports of a switch",
	{ "lengths", lengths }, { "same_lengths", same_lengths }, { "other_lengths", other_lengths })
