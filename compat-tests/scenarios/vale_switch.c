/* What a switch learns, forgets and forwards; ports that come and go; rings; slots that are odd. */
#include "scenario.h"

static void send_to(struct port *port, const uint8_t *to, const uint8_t *from, int tag)
{
	put_on(txring(port, 0), to, from, 60, tag, 0);
	txsync(port);
}

/* How many packets each port got, and takes them. */
static const char *counts(struct port **ports, int n)
{
	static char texts[8][64];
	static unsigned turn;
	char *text = texts[turn++ % 8];
	int used = 0;
	for (int i = 0; i < n; i++)
		used += snprintf(text + used, 64 - (size_t)used, "%s%u", i ? "," : "", drain(ports[i]));
	return text;
}

static void learning(void)
{
	MUST_OPEN(a, "valev:a");
	MUST_OPEN(b, "valev:b");
	MUST_OPEN(c, "valev:c");
	struct port *all[] = { &a, &b, &c };
	static const uint8_t group[6] = { 3, 0, 0, 0, 0, 1 }, none[6] = { 0 };
	send_to(&a, mac_b, mac_a, 1);
	fact("unknown", "%s", counts(all, 3));
	send_to(&b, mac_a, mac_b, 2);
	fact("known", "%s", counts(all, 3));
	send_to(&a, mac_a, mac_a, 3);
	fact("own_address", "%s", counts(all, 3));
	send_to(&a, mac_b, mac_b, 4);
	fact("others_source", "%s", counts(all, 3));
	send_to(&c, mac_b, mac_c, 5);
	fact("moved", "%s", counts(all, 3));
	send_to(&b, mac_a, mac_b, 6);
	send_to(&c, mac_b, mac_c, 7);
	/* b had sent with this source before, so it is not learned again */
	fact("not_moved_back", "%s", (drain(&a), counts(all, 3)));
	send_to(&b, mac_c, mac_c, 8);
	send_to(&b, mac_c, mac_b, 9);
	drain(&c);
	drain(&a);
	send_to(&c, mac_b, mac_c, 10);
	fact("moved_back", "%s", counts(all, 3));
	send_to(&a, mac_c, group, 11);
	send_to(&c, group, mac_c, 12);
	fact("group_source", "%s", counts(all, 3));
	send_to(&a, group, mac_a, 13);
	fact("group_destination", "%s", counts(all, 3));
	send_to(&a, none, mac_a, 14);
	fact("zero_destination", "%s", counts(all, 3));
	send_to(&b, mac_b, none, 15);
	drain(&a);
	drain(&c);
	send_to(&a, none, mac_a, 16);
	fact("zero_learned", "%s", counts(all, 3));
}

/* Bob Jenkins' mix over the six bytes, as if_bridge has it; 1024 places, and who comes later takes the place. */
static unsigned place(const uint8_t *mac)
{
	uint32_t a = 0x9e3779b9, b = 0x9e3779b9, c = 0;
	b += (uint32_t)mac[5] << 8;
	b += mac[4];
	a += (uint32_t)mac[3] << 24;
	a += (uint32_t)mac[2] << 16;
	a += (uint32_t)mac[1] << 8;
	a += mac[0];
	a -= b, a -= c, a ^= c >> 13;
	b -= c, b -= a, b ^= a << 8;
	c -= a, c -= b, c ^= b >> 13;
	a -= b, a -= c, a ^= c >> 12;
	b -= c, b -= a, b ^= a << 16;
	c -= a, c -= b, c ^= b >> 5;
	a -= b, a -= c, a ^= c >> 3;
	b -= c, b -= a, b ^= a << 10;
	c -= a, c -= b, c ^= b >> 15;
	return c & 1023;
}

static void collisions(void)
{
	MUST_OPEN(a, "valev:a");
	MUST_OPEN(b, "valev:b");
	MUST_OPEN(c, "valev:c");
	struct port *all[] = { &a, &b, &c };
	uint8_t first[6] = { 2, 0, 0, 0, 0, 1 }, same[6] = { 2, 0, 0, 0, 0, 2 }, other[6] = { 2, 0, 0, 0, 0, 2 };
	while (place(same) != place(first))
		if (++same[5] == 0)
			same[4]++;
	while (place(other) == place(first))
		other[5]++;
	send_to(&a, mac_all, first, 1);
	send_to(&b, mac_all, other, 2);
	counts(all, 3);
	send_to(&c, first, mac_c, 3);
	fact("learned", "%s", counts(all, 3));
	send_to(&b, mac_all, same, 4);
	counts(all, 3);
	send_to(&c, first, mac_c, 5);
	fact("forgotten", "%s", counts(all, 3));
	send_to(&c, same, mac_c, 6);
	fact("taken", "%s", counts(all, 3));
	send_to(&c, other, mac_c, 7);
	fact("not_touched", "%s", counts(all, 3));
}

/* The address of a port that has left, and of a new port in its place. */
static void leaving(void)
{
	MUST_OPEN(a, "valev:a");
	MUST_OPEN(b, "valev:b");
	MUST_OPEN(c, "valev:c");
	struct port *two[] = { &a, &c };
	send_to(&b, mac_all, mac_b, 1);
	counts(two, 2);
	close_port(&b);
	settle();
	send_to(&a, mac_b, mac_a, 2);
	fact("left", "%s", counts(two, 2));
	MUST_OPEN(d, "valev:d");
	struct port *three[] = { &a, &c, &d };
	send_to(&a, mac_b, mac_a, 3);
	fact("successor", "%s", counts(three, 3));
	close_port(&a);
	close_port(&c);
	close_port(&d);
	settle();
	MUST_OPEN(x, "valev:x");
	MUST_OPEN(y, "valev:y");
	MUST_OPEN(z, "valev:z");
	struct port *others[] = { &x, &y, &z };
	send_to(&x, mac_b, mac_a, 4);
	fact("new_switch", "%s", counts(others, 3));
	MUST_OPEN(w, "valew:w");
	send_to(&w, mac_all, mac_c, 5);
	fact("other_switch", "%s", counts(others, 3));
}

/* Which ring of the receiver: the sender's number, wrapped; broadcasts on the first. */
static void rings(void)
{
	MUST_OPEN(a, "valev:a", .nr_tx_rings = 4, .nr_rx_rings = 4);
	MUST_OPEN(b, "valev:b", .nr_tx_rings = 3, .nr_rx_rings = 3);
	put_on(txring(&b, 2), mac_all, mac_b, 60, 1, 0);
	txsync(&b);
	rxsync(&a);
	fact("broadcast", "%u,%u,%u,%u", available(rxring(&a, 0)), available(rxring(&a, 1)), available(rxring(&a, 2)),
		available(rxring(&a, 3)));
	for (unsigned i = 0; i < 4; i++)
		for (unsigned j = 0; j <= i; j++)
			put_on(txring(&a, i), mac_b, mac_a, 60, 2, 0);
	txsync(&a);
	rxsync(&b);
	fact("unicast", "%u,%u,%u", available(rxring(&b, 0)), available(rxring(&b, 1)), available(rxring(&b, 2)));
	/* a ring that nobody has bound takes nothing */
	MUST_OPEN(c, "valev:c", .nr_tx_rings = 2, .nr_rx_rings = 2, .nr_mode = NR_REG_ONE_NIC, .nr_ringid = 1);
	put_on(txring(&c, 1), mac_all, mac_c, 60, 3, 0);
	txsync(&c);
	put_on(txring(&a, 0), mac_c, mac_a, 60, 4, 0);
	put_on(txring(&a, 1), mac_c, mac_a, 60, 5, 0);
	put_on(txring(&a, 3), mac_c, mac_a, 60, 6, 0);
	txsync(&a);
	rxsync(&c);
	fact("one_bound", "%u", available(rxring(&c, 1)));
}

/* Lengths and buffers that are wrong, on the sender's side. */
static void sender_slots(void)
{
	static const struct { const char *key; unsigned len, flags; uint32_t index; } odd[] = {
		{ "len_0", 0, 0, 1 }, { "len_13", 13, 0, 1 }, { "len_14", 14, 0, 1 }, { "len_2048", 2048, 0, 1 },
		{ "len_2049", 2049, 0, 1 }, { "len_65535", 65535, 0, 1 }, { "flags_all_but_frag", 60, 0xffcf, 1 },
		{ "index_0", 60, NS_BUF_CHANGED, 0 }, { "index_huge", 60, NS_BUF_CHANGED, 0xffffffff },
		{ "report", 60, NS_REPORT, 1 }, { "forward", 60, NS_FORWARD, 1 }, { "no_learn", 60, NS_NO_LEARN, 1 },
	};
	MUST_OPEN(a, "valev:a");
	MUST_OPEN(b, "valev:b");
	for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
		struct netmap_ring *ring = txring(&a, 0);
		struct netmap_slot *slot = &ring->slot[ring->head];
		uint32_t index = slot->buf_idx;
		char key[48];
		put_on(ring, mac_all, mac_a, odd[i].len, 0x40, odd[i].flags);
		if (odd[i].index != 1)
			slot->buf_idx = odd[i].index;
		put_on(ring, mac_all, mac_a, 61, 0x41, 0);
		int error = txsync(&a);
		rxsync(&b);
		struct netmap_ring *rx = rxring(&b, 0);
		uint32_t n = available(rx);
		/* an index that is none stands for the first buffer, whose content is anything */
		struct netmap_slot *first = &rx->slot[rx->head], *last = &rx->slot[rx->tail ? rx->tail - 1 : rx->num_slots - 1];
		fact(odd[i].key, "%s n %u first %u/0x%x last %u/0x%x", error_name(error), n, n ? first->len : 0,
			n ? first->flags : 0, n ? last->len : 0, n ? last->flags : 0);
		snprintf(key, sizeof key, "%s.slot", odd[i].key);
		fact(key, "%u/0x%x index_kept %d", slot->len, slot->flags,
			slot->buf_idx == (odd[i].index == 1 ? index : odd[i].index));
		slot->buf_idx = index;
		drain(&b);
	}
}

/* Packets of several slots, over the end of the ring, with parts in the program's own memory. */
static void fragments(void)
{
	MUST_OPEN(a, "valev:a", .nr_tx_slots = 8);
	MUST_OPEN(b, "valev:b", .nr_rx_slots = 16);
	struct netmap_ring *ring = txring(&a, 0);
	static uint8_t own[2048] __attribute__((aligned(64)));
	for (int i = 0; i < 6; i++)
		put(&a, 1);
	txsync(&a);
	drain(&b);
	put_on(ring, mac_all, mac_a, 100, 2, NS_MOREFRAG);
	put_on(ring, NULL, NULL, 2048, 3, NS_MOREFRAG);
	put_on(ring, NULL, NULL, 1, 4, 0);
	put(&a, 5);
	txsync(&a);
	fact_received("over_the_end", &b, 0);
	drain(&b);
	memset(own, 0x6d, sizeof own);
	put_on(ring, mac_all, mac_a, 64, 6, NS_MOREFRAG);
	ring->slot[ring->head].ptr = (uintptr_t)own;
	put_on(ring, NULL, NULL, 128, 7, NS_INDIRECT);
	txsync(&a);
	fact_received("indirect_part", &b, 0);
	drain(&b);
	memcpy(own, mac_all, 6);
	memcpy(own + 6, mac_c, 6);
	ring->slot[ring->head].ptr = (uintptr_t)own;
	put_on(ring, NULL, NULL, 90, 8, NS_INDIRECT);
	ring->slot[ring->head].ptr = 0;
	put_on(ring, NULL, NULL, 90, 9, NS_INDIRECT);
	ring->slot[ring->head].ptr = 64;
	put_on(ring, NULL, NULL, 90, 10, NS_INDIRECT);
	put(&a, 11);
	fact_error("indirect", txsync(&a));
	fact_received("indirect.b", &b, 0);
	drain(&b);
	/* a receiver with room for a part of it gets nothing of it, and nothing of what follows */
	while (available(rxring(&b, 0)) < 13) {
		put(&a, 12);
		txsync(&a);
		rxsync(&b);
	}
	put_on(ring, mac_all, mac_a, 100, 13, NS_MOREFRAG);
	put_on(ring, NULL, NULL, 101, 14, NS_MOREFRAG);
	put_on(ring, NULL, NULL, 102, 15, 0);
	put(&a, 16);
	txsync(&a);
	rxsync(&b);
	fact("room_for_two", "%u", available(rxring(&b, 0)));
	struct netmap_ring *rx = rxring(&b, 0);
	fact("last", "%u", rx->slot[rx->tail ? rx->tail - 1 : 15].len);
	/* an empty first part, and one that is too short for an address */
	drain(&b);
	put_on(ring, NULL, NULL, 0, 17, NS_MOREFRAG);
	put_on(ring, mac_all, mac_a, 60, 18, 0);
	put_on(ring, NULL, NULL, 10, 19, NS_MOREFRAG);
	put_on(ring, mac_all, mac_a, 60, 20, 0);
	put(&a, 21);
	txsync(&a);
	fact_received("short_first", &b, 0);
}

/* Slots of the receiver that were scribbled on. */
static void receiver_slots(void)
{
	MUST_OPEN(a, "valev:a");
	MUST_OPEN(b, "valev:b", .nr_rx_slots = 8);
	struct netmap_ring *ring = rxring(&b, 0);
	uint32_t indices[8];
	for (int i = 0; i < 8; i++)
		indices[i] = ring->slot[i].buf_idx;
	ring->slot[0].len = 1;
	ring->slot[0].flags = 0xffff;
	ring->slot[1].buf_idx = 0xfffffff0;
	ring->slot[2].buf_idx = indices[3];
	put(&a, 1);
	put(&a, 2);
	put(&a, 3);
	put(&a, 4);
	fact_error("txsync", txsync(&a));
	rxsync(&b);
	fact("n", "%u", available(ring));
	for (int i = 0; i < 4; i++) {
		char key[16];
		snprintf(key, sizeof key, "slot%d", i);
		fact(key, "%u/0x%x", ring->slot[i].len, ring->slot[i].flags);
	}
	ring->slot[1].buf_idx = indices[1];
	ring->slot[2].buf_idx = indices[2];
	ring->slot[0].flags = NS_BUF_CHANGED | 0x100;
	ring->head = ring->cur = ring->tail;
	fact_error("rxsync", rxsync(&b));
	fact("released", "0x%x", ring->slot[0].flags);
	put(&a, 5);
	txsync(&a);
	fact("goes_on", "%u", drain(&b));
}

/* More packets in one sync than a batch takes, and than the receiver has room for. */
static void batches(void)
{
	MUST_OPEN(a, "valev:a", .nr_tx_slots = 4096);
	MUST_OPEN(b, "valev:b", .nr_rx_slots = 4096);
	MUST_OPEN(c, "valev:c", .nr_rx_slots = 16);
	for (int i = 0; i < 4095; i++)
		put(&a, i & 0xff);
	fact_error("txsync", txsync(&a));
	fact_ring("tx", txring(&a, 0));
	rxsync(&b);
	rxsync(&c);
	fact("arrived", "%u %u", available(rxring(&b, 0)), available(rxring(&c, 0)));
	unsigned in_order = 0;
	struct netmap_ring *ring = rxring(&b, 0);
	for (uint32_t i = ring->head, n = 0; i != ring->tail; i = next_slot(ring, i), n++)
		in_order += (uint8_t)NETMAP_BUF(ring, ring->slot[i].buf_idx)[59] == (n & 0xff);
	fact("in_order", "%u", in_order);
	ring = rxring(&c, 0);
	fact("kept", "%02x %02x", (uint8_t)NETMAP_BUF(ring, ring->slot[0].buf_idx)[59],
		(uint8_t)NETMAP_BUF(ring, ring->slot[14].buf_idx)[59]);
}

SCENARIO("switch", "switches: learning, leaving, rings, fragments, odd slots, batches",
	{ "learning", learning }, { "collisions", collisions }, { "leaving", leaving }, { "rings", rings },
	{ "sender_slots", sender_slots }, { "fragments", fragments }, { "receiver_slots", receiver_slots },
	{ "batches", batches })
