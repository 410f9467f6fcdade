/* The OFFSETS option: what it checks, what it leaves in rings and slots, and packets that begin inside their
 * buffers. */
#include "scenario.h"

static struct nmreq_opt_offsets offsets(uint64_t max, uint64_t initial, uint32_t bits)
{
	struct nmreq_opt_offsets o = { .nro_opt = { .nro_reqtype = NETMAP_REQ_OPT_OFFSETS, .nro_status = 0x55 },
		.nro_max_offset = max, .nro_initial_offset = initial, .nro_offset_bits = bits };
	return o;
}

static void try_open(const char *key, const char *name, struct nmreq_opt_offsets o)
{
	OPEN_WITH(p, name, &o);
	fact(key, "%s status %s max %llu bits %u", error_name(p.error), error_name((int)o.nro_opt.nro_status),
		(unsigned long long)o.nro_max_offset, o.nro_offset_bits);
	if (!p.error) {
		char more[64];
		snprintf(more, sizeof more, "%s.ring", key);
		fact(more, "mask 0x%llx align %llu size %u tx %llu rx %llu", (unsigned long long)txring(&p, 0)->offset_mask,
			(unsigned long long)txring(&p, 0)->buf_align, txring(&p, 0)->nr_buf_size,
			(unsigned long long)txring(&p, 0)->slot[5].ptr, (unsigned long long)rxring(&p, 0)->slot[5].ptr);
	}
	close_port(&p);
}

static void checks(void)
{
	try_open("plain", "valeo:a", offsets(128, 64, 16));
	try_open("zero", "valeo:a", offsets(0, 0, 0));
	try_open("whole_buffer", "valeo:a", offsets(2048, 0, 0));
	try_open("beyond_buffer", "valeo:a", offsets(2049, 0, 0));
	try_open("initial_is_max", "valeo:a", offsets(256, 256, 0));
	try_open("initial_beyond", "valeo:a", offsets(256, 257, 0));
	try_open("bits_64", "valeo:a", offsets(256, 0, 64));
	try_open("bits_65", "valeo:a", offsets(256, 0, 65));
	try_open("bits_too_few", "valeo:a", offsets(256, 0, 8));
	try_open("bits_just", "valeo:a", offsets(255, 0, 8));
	try_open("on_pipe", "op{1", offsets(128, 64, 16));
	try_open("bad_size_before_bits", "valeo:a", offsets(5000, 6000, 65));
	struct nmreq_opt_offsets o = offsets(128, 0, 0);
	o.nro_min_gap = 64;
	try_open("gap", "valeo:a", o);
}

/* A second descriptor on the rings: it has to live with what the first one agreed on. */
static void second_descriptor(void)
{
	struct nmreq_opt_offsets o = offsets(128, 64, 16);
	OPEN_WITH(p, "valeo:a", &o);
	NEED(p.error == 0);
	txring(&p, 0)->slot[3].ptr = 100;
	try_open("same", "valeo:a", offsets(128, 32, 16));
	try_open("less", "valeo:a", offsets(64, 0, 8));
	try_open("more_max", "valeo:a", offsets(129, 0, 16));
	try_open("more_bits", "valeo:a", offsets(128, 0, 17));
	try_open("no_bits", "valeo:a", offsets(128, 0, 0));
	fact("kept", "%llu %llu", (unsigned long long)txring(&p, 0)->slot[3].ptr,
		(unsigned long long)txring(&p, 0)->slot[5].ptr);
	OPEN(plain, "valeo:a");
	fact("without", "%s mask 0x%llx", error_name(plain.error), (unsigned long long)txring(&plain, 0)->offset_mask);
	close_port(&plain);
	close_port(&p);
	OPEN(fresh, "valeo:a");
	fact("fresh", "mask 0x%llx %llu", (unsigned long long)txring(&fresh, 0)->offset_mask,
		(unsigned long long)txring(&fresh, 0)->slot[5].ptr);
	try_open("later", "valeo:a", offsets(128, 64, 0));
}

static void put_at(struct port *p, uint64_t offset, unsigned len, int tag)
{
	struct netmap_ring *ring = txring(p, 0);
	struct netmap_slot *slot = &ring->slot[ring->head];
	slot->ptr = offset;
	uint8_t *data = (uint8_t *)NETMAP_BUF(ring, slot->buf_idx);
	memset(data, 0xff, ring->nr_buf_size);
	if (offset <= ring->nr_buf_size) {
		unsigned room = ring->nr_buf_size - (unsigned)offset;
		memset(data + offset, tag, len < room ? len : room);
		if (len >= 14 && room >= 14) {
			memcpy(data + offset, mac_b, 6);
			memcpy(data + offset + 6, mac_a, 6);
		}
	}
	slot->len = (uint16_t)len;
	slot->flags = 0;
	ring->head = ring->cur = next_slot(ring, ring->head);
}

/* len/flags/offset/first payload byte/last byte of what was received. */
static void fact_offsets(const char *key, struct port *p, int with_offsets)
{
	char text[1024];
	struct netmap_ring *ring = rxring(p, 0);
	rxsync(p);
	int used = snprintf(text, sizeof text, "%u", available(ring));
	for (uint32_t i = ring->head; i != ring->tail; i = next_slot(ring, i)) {
		struct netmap_slot *slot = &ring->slot[i];
		uint64_t offset = with_offsets ? slot->ptr & ring->offset_mask : 0;
		uint8_t *data = (uint8_t *)NETMAP_BUF(ring, slot->buf_idx) + offset;
		used += snprintf(text + used, sizeof text - (size_t)used, " %u/0x%x/%llu/%02x/%02x", slot->len, slot->flags,
			(unsigned long long)offset, slot->len > 14 ? data[14] : 0, slot->len ? data[slot->len - 1] : 0);
	}
	fact(key, "%s", text);
}

/* Sender and receiver with and without offsets, on a switch. The receiver's offset is moved so that the packet is
 * aligned in its buffer as it is in the sender's. */
static void on_switch(void)
{
	struct nmreq_opt_offsets o = offsets(256, 0, 16), r = offsets(256, 64, 16);
	OPEN_WITH(a, "valeo:a", &o);
	OPEN_WITH(b, "valeo:b", &r);
	MUST_OPEN(plain, "valeo:p");
	NEED(a.error == 0 && b.error == 0);
	put_at(&a, 0, 60, 1);
	put_at(&a, 64, 61, 2);
	put_at(&a, 128, 62, 3);
	put_at(&a, 256, 63, 4);
	fact_error("txsync", txsync(&a));
	fact_offsets("with", &b, 1);
	fact_offsets("without", &plain, 0);
	drain(&b);
	drain(&plain);
	/* what does not fit behind the offset is not sent; what does not fit behind the receiver's arrives empty */
	put_at(&a, 256, 1792, 5);
	put_at(&a, 256, 1793, 6);
	put_at(&a, 0, 2048, 7);
	put_at(&a, 0, 1984, 8);
	put_at(&a, 300, 60, 9);
	fact_error("txsync_long", txsync(&a));
	fact_offsets("with_long", &b, 1);
	fact_offsets("without_long", &plain, 0);
	close_port(&plain);
	drain(&b);
	/* not a multiple of 64: the receiver's offset grows (and one without offsets would be given rubbish) */
	put_at(&a, 100, 62, 10);
	put_at(&a, 1, 60, 11);
	put_at(&a, 255, 60, 12);
	txsync(&a);
	fact_offsets("odd", &b, 1);
}

/* On a pipe the slots carry their offsets to the other end, and never less than the receiver asked for. */
static void on_pipe(void)
{
	struct nmreq_opt_offsets o = offsets(256, 64, 16);
	OPEN_WITH(m, "op{2", &o);
	NEED(m.error == 0);
	OPEN_WITH(s, "op}2", &o);
	fact("slave", "%s status %s", error_name(s.error), error_name((int)o.nro_opt.nro_status));
	fact("slave.ring", "mask 0x%llx %llu", (unsigned long long)rxring(&s, 0)->offset_mask,
		(unsigned long long)rxring(&s, 0)->slot[0].ptr);
	put_at(&m, 64, 60, 1);
	put_at(&m, 100, 61, 2);
	put_at(&m, 10, 62, 3);
	fact_error("txsync", txsync(&m));
	fact_offsets("received", &s, 1);
	rxring(&s, 0)->slot[0].ptr = 200;
	drain(&s);
	txsync(&m);
	fact("given_back", "%llu %llu %llu", (unsigned long long)txring(&m, 0)->slot[0].ptr,
		(unsigned long long)txring(&m, 0)->slot[1].ptr, (unsigned long long)txring(&m, 0)->slot[2].ptr);
}

/* Where they are not supported. */
static void elsewhere(void)
{
	MUST_OPEN(a, "valeo:a");
	struct nmreq_opt_offsets o = offsets(128, 64, 16);
	OPEN_WITH(copy, "valeo:a", &o, .nr_flags = NR_MONITOR_TX);
	fact("copy_monitor", "%s status %s", error_name(copy.error), error_name((int)o.nro_opt.nro_status));
	close_port(&copy);
	o = offsets(128, 64, 16);
	OPEN_WITH(zero, "valeo:a", &o, .nr_flags = NR_ZCOPY_MON);
	fact("zero_copy_monitor", "%s status %s", error_name(zero.error), error_name((int)o.nro_opt.nro_status));
	close_port(&zero);
	o = offsets(128, 64, 16);
	OPEN_WITH(null_port, "", &o, .nr_mode = NR_REG_NULL, .nr_mem_id = 1, .nr_tx_rings = 1, .nr_rx_rings = 1,
		.nr_tx_slots = 8, .nr_rx_slots = 8);
	fact("null_port", "%s status %s slot %llu", error_name(null_port.error), error_name((int)o.nro_opt.nro_status),
		null_port.error ? 0ull : (unsigned long long)txring(&null_port, 0)->slot[1].ptr);
}

SCENARIO("switch", "the OFFSETS option",
	{ "checks", checks }, { "second_descriptor", second_descriptor }, { "on_switch", on_switch }, { "on_pipe", on_pipe },
	{ "elsewhere", elsewhere })
