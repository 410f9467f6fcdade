/* Regions and what is in them: sharing by id, extra buffers and their return, descriptions of pools, mappings. */
#include "scenario.h"

static int is_private(const struct port *p) { return p->reg.nr_mem_id > 1; }

static uint32_t chain_length(struct port *p)
{
	uint32_t n = 0, buffer = p->nifp->ni_bufs_head;
	for (; buffer && n < 100000; n++)
		buffer = *(uint32_t *)NETMAP_BUF(txring(p, 0), buffer);
	return n;
}

/* Ports that are given another port's memory. */
static void by_id(void)
{
	MUST_OPEN(a, "valer:a");
	fact("own", "%d flags 0x%x", is_private(&a), a.nifp->ni_flags);
	OPEN(b, "valer:b", .nr_mem_id = a.reg.nr_mem_id);
	fact("shared", "%s same %d size %d", error_name(b.error), b.reg.nr_mem_id == a.reg.nr_mem_id,
		b.reg.nr_memsize == a.reg.nr_memsize);
	if (!b.error) {
		/* one region: a buffer of the one is reached through the mapping of the other */
		uint32_t index = rxring(&b, 0)->slot[0].buf_idx;
		NETMAP_BUF(rxring(&b, 0), index)[0] = 0x5d;
		fact("seen", "%d", NETMAP_BUF(rxring(&a, 0), index)[0] == 0x5d);
		fact("other_offset", "%d", a.reg.nr_offset != b.reg.nr_offset);
		put(&a, 7);
		txsync(&a);
		fact_received("received", &b, 0);
	}
	OPEN(m, "rp{1", .nr_mem_id = a.reg.nr_mem_id);
	fact("pipe", "%s same %d", error_name(m.error), m.reg.nr_mem_id == a.reg.nr_mem_id);
	OPEN(other, "valer:a{1", .nr_mem_id = 1);
	fact("pipe_of_port", "%s same %d", error_name(other.error), other.reg.nr_mem_id == a.reg.nr_mem_id);
	close_port(&other);
	OPEN(again, "valer:a", .nr_mem_id = 1);
	fact("existing_port", "%s same %d", error_name(again.error), again.reg.nr_mem_id == a.reg.nr_mem_id);
	close_port(&again);
	uint16_t id = a.reg.nr_mem_id;
	close_port(&a);
	OPEN(c, "valer:c", .nr_mem_id = id);
	fact("first_owner_gone", "%s same %d", error_name(c.error), c.reg.nr_mem_id == id);
	close_port(&b);
	close_port(&c);
	close_port(&m);
	settle();
	OPEN(d, "valer:d", .nr_mem_id = id);
	fact_error("all_gone", d.error);
	OPEN(g, "valer:g", .nr_mem_id = 1);
	fact("global", "%s %u flags 0x%x", error_name(g.error), g.reg.nr_mem_id, g.nifp ? g.nifp->ni_flags : 0);
}

/* More than there is: the ports that do not fit are refused, and those that do are not hurt. */
static void too_much(void)
{
	MUST_OPEN(a, "valer:a", .nr_tx_slots = 4096, .nr_rx_slots = 4096);
	OPEN(b, "valer:b", .nr_mem_id = a.reg.nr_mem_id, .nr_tx_rings = 16, .nr_rx_rings = 16, .nr_tx_slots = 4096,
		.nr_rx_slots = 4096);
	fact_error("too_many_slots", b.error);
	put_on(txring(&a, 0), mac_all, mac_a, 60, 1, 0);
	fact_error("first_works", txsync(&a));
	OPEN(c, "valer:c", .nr_mem_id = a.reg.nr_mem_id, .nr_tx_slots = 16, .nr_rx_slots = 16);
	fact_error("small", c.error);
}

/* Extra buffers: how many one gets, that they are different ones, and that they come back. */
static void extra(void)
{
	MUST_OPEN(a, "valer:a", .nr_extra_bufs = 20);
	fact("got", "%u chain %u", a.reg.nr_extra_bufs, chain_length(&a));
	OPEN(second, "valer:a", .nr_extra_bufs = 20);
	fact("second", "%s %u", error_name(second.error), second.reg.nr_extra_bufs);
	close_port(&second);
	OPEN(third, "valer:a", .nr_extra_bufs = 20);
	fact("third", "%s %u", error_name(third.error), third.reg.nr_extra_bufs);
	/* the list is the program's: what it gives back is what it says */
	third.nifp->ni_bufs_head = 0;
	close_port(&third);
	OPEN(fourth, "valer:a", .nr_extra_bufs = 1);
	fact("after_none_returned", "%s %u", error_name(fourth.error), fourth.reg.nr_extra_bufs);
	close_port(&fourth);
	close_port(&a);
	settle();
	MUST_OPEN(b, "valer:a", .nr_extra_bufs = 20);
	fact("new_port", "%u chain %u", b.reg.nr_extra_bufs, chain_length(&b));
	/* a list that ends nowhere, and one that goes in a circle */
	b.nifp->ni_bufs_head = 0x7fffffff;
	close_port(&b);
	settle();
	MUST_OPEN(c, "valer:a", .nr_extra_bufs = 20);
	*(uint32_t *)NETMAP_BUF(txring(&c, 0), c.nifp->ni_bufs_head) = c.nifp->ni_bufs_head;
	close_port(&c);
	settle();
	MUST_OPEN(d, "valer:a", .nr_extra_bufs = 20);
	fact("after_bad_lists", "%u chain %u", d.reg.nr_extra_bufs, chain_length(&d));
	OPEN(none, "valer:none", .nr_extra_bufs = 0);
	fact("none", "%s %u head %u", error_name(none.error), none.reg.nr_extra_bufs, none.nifp->ni_bufs_head);
}

static void fact_pools(const char *key, int error, const struct nmreq_pools_info *q)
{
	fact(key, "%s size %llu if %llu/%u/%u ring %llu/%u/%u buf %llu/%u/%u", error_name(error),
		(unsigned long long)q->nr_memsize, (unsigned long long)q->nr_if_pool_offset, q->nr_if_pool_objtotal,
		q->nr_if_pool_objsize, (unsigned long long)q->nr_ring_pool_offset, q->nr_ring_pool_objtotal,
		q->nr_ring_pool_objsize, (unsigned long long)q->nr_buf_pool_offset, q->nr_buf_pool_objtotal, q->nr_buf_pool_objsize);
}

/* POOLS_INFO_GET by name and by id, for ports that are there and that are not; what it says fits the mapping. */
static void pools(void)
{
	struct nmreq_pools_info q = { 0 };
	MUST_OPEN(a, "valer:a", .nr_tx_slots = 64, .nr_rx_slots = 64, .nr_extra_bufs = 8);
	fact_pools("by_name", request(NETMAP_REQ_POOLS_INFO_GET, "valer:a", &q), &q);
	fact("by_name.id", "%d", q.nr_mem_id == a.reg.nr_mem_id);
	fact("inside", "if %d ring %d buf %d",
		a.reg.nr_offset >= q.nr_if_pool_offset && a.reg.nr_offset < q.nr_ring_pool_offset,
		(uint64_t)((char *)txring(&a, 0) - a.mem) >= q.nr_ring_pool_offset &&
			(uint64_t)((char *)txring(&a, 0) - a.mem) < q.nr_buf_pool_offset,
		(uint64_t)(NETMAP_BUF(txring(&a, 0), 2) - a.mem) == q.nr_buf_pool_offset + 2ull * q.nr_buf_pool_objsize);
	memset(&q, 0, sizeof q);
	q.nr_mem_id = a.reg.nr_mem_id;
	fact_error("empty_name", request(NETMAP_REQ_POOLS_INFO_GET, "", &q));
	memset(&q, 0, sizeof q);
	q.nr_mem_id = a.reg.nr_mem_id;
	int error = request(NETMAP_REQ_POOLS_INFO_GET, "valer:other", &q);
	fact("other_name_same_id", "%s same %d", error_name(error), q.nr_mem_id == a.reg.nr_mem_id);
	memset(&q, 0, sizeof q);
	q.nr_mem_id = 9999;
	fact_error("bad_id", request(NETMAP_REQ_POOLS_INFO_GET, "valer:a", &q));
	memset(&q, 0, sizeof q);
	error = request(NETMAP_REQ_POOLS_INFO_GET, "valer:new", &q);
	fact_pools("not_open", error, &q);
	struct nmreq_port_hdr hdr = { 0 };
	fact_error("not_left", request(NETMAP_REQ_PORT_HDR_GET, "valer:new", &hdr));
	struct nmreq_port_info_get info = { .nr_mem_id = a.reg.nr_mem_id };
	error = request(NETMAP_REQ_PORT_INFO_GET, "", &info);
	fact("info_by_id", "%s same_size %d rings %u", error_name(error), info.nr_memsize == a.reg.nr_memsize,
		info.nr_tx_rings);
	memset(&info, 0, sizeof info);
	error = request(NETMAP_REQ_PORT_INFO_GET, "", &info);
	fact("info_global", "%s id %u rings %u", error_name(error), info.nr_mem_id, info.nr_tx_rings);
	memset(&info, 0, sizeof info);
	info.nr_tx_rings = 3;
	info.nr_rx_slots = 99;
	error = request(NETMAP_REQ_PORT_INFO_GET, "valer:new", &info);
	fact("info_asks", "%s tx %u,%u rx %u,%u", error_name(error), info.nr_tx_rings, info.nr_tx_slots, info.nr_rx_rings,
		info.nr_rx_slots);
}

/* Null ports: rings without traffic in memory of somebody. */
static void null_ports(void)
{
	MUST_OPEN(a, "valer:a");
	OPEN(n, "any name", .nr_mode = NR_REG_NULL, .nr_mem_id = a.reg.nr_mem_id, .nr_tx_rings = 1, .nr_rx_rings = 2,
		.nr_tx_slots = 4, .nr_rx_slots = 8, .nr_extra_bufs = 3);
	fact("open", "%s rings %u,%u slots %u,%u extra %u name %s", error_name(n.error), n.reg.nr_tx_rings, n.reg.nr_rx_rings,
		n.reg.nr_tx_slots, n.reg.nr_rx_slots, n.reg.nr_extra_bufs, n.nifp ? n.nifp->ni_name : "");
	OPEN(twice, "any name", .nr_mode = NR_REG_NULL, .nr_mem_id = a.reg.nr_mem_id);
	fact_error("same_name", twice.error);
	struct nmreq_port_info_get info = { 0 };
	fact_error("info", request(NETMAP_REQ_PORT_INFO_GET, "any name", &info));
	txring(&n, 0)->head = txring(&n, 0)->cur = 2;
	fact_error("txsync", txsync(&n));
	fact_ring("tx", txring(&n, 0));
	rxring(&n, 1)->head = 3;
	fact_error("rxsync_bad", rxsync(&n));
	fact_ring("rx", rxring(&n, 1));
	OPEN(x, "", .nr_mode = NR_REG_NULL, .nr_mem_id = 1, .nr_flags = NR_EXCLUSIVE);
	fact_error("exclusive", x.error);
	OPEN(none, "", .nr_mode = NR_REG_NULL);
	fact_error("no_memory", none.error);
}

/* Mappings that outlive descriptors and ports, and are used through others. */
static void mappings(void)
{
	MUST_OPEN(a, "valer:a");
	MUST_OPEN(b, "valer:b", .nr_mem_id = a.reg.nr_mem_id);
	/* one mapping serves both */
	struct netmap_if *through_a = NETMAP_IF(a.mem, b.reg.nr_offset);
	fact("through_other", "%d", NETMAP_TXRING(through_a, 0)->num_slots == txring(&b, 0)->num_slots);
	munmap(b.mem, b.reg.nr_memsize);
	b.mem = a.mem;
	b.nifp = through_a;
	put(&b, 1);
	fact_error("sync_unmapped", txsync(&b));
	fact_received("a_received", &a, 0);
	b.mem = NULL;
	close_port(&b);
	/* a child has the mapping too */
	pid_t child = fork();
	if (child == 0) {
		txring(&a, 0)->sem[7] = 0x3c;
		_exit(0);
	}
	waitpid(child, NULL, 0);
	fact("childs_write", "0x%x", txring(&a, 0)->sem[7]);
	uint64_t size = a.reg.nr_memsize;
	char *mem = a.mem;
	close(a.fd);
	a.fd = -1;
	settle();
	fact("closed", "%u", txring(&a, 0)->num_slots);
	((volatile char *)mem)[size - 1] = 1;
	fact("writable", "%d", mem[size - 1] == 1);
	MUST_OPEN(again, "valer:a");
	fact("new_port", "%d", again.mem != mem);
}

SCENARIO("switch", "memory: sharing, extra buffers, pools, null ports, mappings",
	{ "by_id", by_id }, { "too_much", too_much }, { "extra", extra }, { "pools", pools }, { "null_ports", null_ports },
	{ "mappings", mappings })
