/*
 * EXTMEM: the program's own memory as a region. All objects here divide a page: larger ones need pages that lie
 * together in physical memory, which a kernel may or may not give.
 */
#include "scenario.h"

#define SIZE (1u << 20)

static struct nmreq_opt_extmem extmem(void *memory, uint64_t size)
{
	struct nmreq_opt_extmem o = { .nro_opt = { .nro_reqtype = NETMAP_REQ_OPT_EXTMEM, .nro_status = 0x55 },
		.nro_usrptr = (uintptr_t)memory, .nro_info = { .nr_memsize = size, .nr_if_pool_objtotal = 4,
		.nr_if_pool_objsize = 1024, .nr_ring_pool_objtotal = 8, .nr_ring_pool_objsize = 4096, .nr_buf_pool_objtotal = 100,
		.nr_buf_pool_objsize = 2048 } };
	return o;
}

static char *memory_of(int flags)
{
	char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | flags, -1, 0);
	NEED(memory != MAP_FAILED);
	memset(memory, 0, SIZE);
	return memory;
}

static void with(int flags)
{
	char *own = memory_of(flags);
	struct nmreq_opt_extmem o = extmem(own, SIZE);
	OPEN_WITH(a, "valex:a", &o, .nr_tx_slots = 64, .nr_rx_slots = 64);
	fact("open", "%s status %s size %llu", error_name(a.error), error_name((int)o.nro_opt.nro_status),
		(unsigned long long)a.reg.nr_memsize);
	NEED(a.error == 0);
	fact("info", "size %llu if %u/%u ring %u/%u buf %u/%u", (unsigned long long)o.nro_info.nr_memsize,
		o.nro_info.nr_if_pool_objtotal, o.nro_info.nr_if_pool_objsize, o.nro_info.nr_ring_pool_objtotal,
		o.nro_info.nr_ring_pool_objsize, o.nro_info.nr_buf_pool_objtotal, o.nro_info.nr_buf_pool_objsize);
	struct nmreq_pools_info q = { 0 };
	int error = request(NETMAP_REQ_POOLS_INFO_GET, "valex:a", &q);
	fact("pools", "%s if %llu/%u ring %llu/%u buf %llu/%u", error_name(error), (unsigned long long)q.nr_if_pool_offset,
		q.nr_if_pool_objtotal, (unsigned long long)q.nr_ring_pool_offset, q.nr_ring_pool_objtotal,
		(unsigned long long)q.nr_buf_pool_offset, q.nr_buf_pool_objtotal);
	/* the same memory by either address */
	struct netmap_if *nifp = NETMAP_IF(own, a.reg.nr_offset);
	fact("name_in_own", "%s", nifp->ni_name);
	NETMAP_TXRING(nifp, 0)->sem[3] = 0x4d;
	fact("seen_in_mapping", "0x%x", txring(&a, 0)->sem[3]);
	MUST_OPEN(b, "valex:b");
	struct port through_own = { .fd = a.fd, .nifp = nifp };
	put(&through_own, 0x5a);
	fact_error("txsync", txsync(&through_own));
	fact_received("sent", &b, 0);
	put_on(txring(&b, 0), mac_a, mac_b, 70, 0x6b, 0);
	txsync(&b);
	fact_received("received", &through_own, 0);
	/* another port in the same memory, and one more by its number */
	struct nmreq_opt_extmem again = extmem(own, SIZE);
	OPEN_WITH(c, "valex:c", &again, .nr_tx_slots = 64, .nr_rx_slots = 64);
	fact("second", "%s same %d", error_name(c.error), c.reg.nr_mem_id == a.reg.nr_mem_id);
	OPEN(d, "valex:d", .nr_tx_slots = 64, .nr_rx_slots = 64, .nr_mem_id = a.reg.nr_mem_id);
	fact("by_id", "%s same %d", error_name(d.error), d.reg.nr_mem_id == a.reg.nr_mem_id);
	OPEN(e, "valex:e", .nr_tx_slots = 64, .nr_rx_slots = 64, .nr_mem_id = a.reg.nr_mem_id);
	OPEN(f, "valex:f", .nr_tx_slots = 64, .nr_rx_slots = 64, .nr_mem_id = a.reg.nr_mem_id);
	fact("more", "%s %s", error_name(e.error), error_name(f.error));
	fact_error("bigger_than_a_ring",
		({ OPEN(g, "valex:g", .nr_tx_slots = 1024, .nr_mem_id = a.reg.nr_mem_id); g.error; }));
	close_port(&b);
	close_port(&c);
	close_port(&d);
	close_port(&e);
	close_port(&f);
	close_port(&a);
	settle();
	/* it is the program's again */
	fact("kept", "%s", nifp->ni_name[0] ? "something" : "nothing");
	memset(own, 0x33, SIZE);
	fact("writable", "%d", own[SIZE - 1] == 0x33);
	o = extmem(own, SIZE);
	OPEN_WITH(last, "valex:a", &o, .nr_tx_slots = 64, .nr_rx_slots = 64);
	fact("used_again", "%s", error_name(last.error));
}

static void shared(void) { with(MAP_SHARED); }
static void private_memory(void) { with(MAP_PRIVATE); }

static void fact_refusal(const char *key, struct nmreq_opt_extmem o)
{
	OPEN_WITH(p, "valex:r", &o, .nr_tx_slots = 64, .nr_rx_slots = 64);
	fact(key, "%s status %s", error_name(p.error), error_name((int)o.nro_opt.nro_status));
	close_port(&p);
}

static void refused(void)
{
	char *own = memory_of(MAP_SHARED), *readonly = memory_of(MAP_PRIVATE);
	fact_refusal("nothing", extmem(NULL, 0));
	fact_refusal("nowhere", extmem((void *)0x1000, SIZE));
	fact_refusal("too_small", extmem(own, 65536));
	char *cut = mmap(NULL, 2 * SIZE, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_SHARED, -1, 0);
	NEED(cut != MAP_FAILED && munmap(cut + SIZE, SIZE) == 0);
	fact_refusal("beyond", extmem(cut, SIZE + 4096));
	mprotect(readonly, SIZE, PROT_READ);
	fact_refusal("readonly", extmem(readonly, SIZE));
	struct nmreq_opt_extmem defaults = extmem(own, SIZE);
	defaults.nro_info = (struct nmreq_pools_info){ .nr_memsize = SIZE };
	fact_refusal("defaults_do_not_fit", defaults);
	struct nmreq_opt_extmem hole = extmem(own, SIZE);
	munmap(own + SIZE / 2, 4096);
	fact_refusal("hole", hole);
	/* the port's other faults come after the memory's */
	struct nmreq_opt_extmem o = extmem(memory_of(MAP_SHARED), SIZE);
	OPEN_WITH(nobody, "nope", &o);
	fact("bad_name", "%s status %s", error_name(nobody.error), error_name((int)o.nro_opt.nro_status));
	close_port(&nobody);
	o = extmem(NULL, 0);
	OPEN_WITH(mode, "nope", &o, .nr_mode = NR_REG_PIPE_MASTER);
	fact("bad_mode", "%s status %s", error_name(mode.error), error_name((int)o.nro_opt.nro_status));
	close_port(&mode);
	o = extmem(memory_of(MAP_SHARED), SIZE);
	OPEN_WITH(id, "valex:r", &o, .nr_mem_id = 9999, .nr_tx_slots = 64, .nr_rx_slots = 64);
	fact("bad_id_too", "%s status %s", error_name(id.error), error_name((int)o.nro_opt.nro_status));
	close_port(&id);
	MUST_OPEN(there, "valex:there");
	o = extmem(memory_of(MAP_SHARED), SIZE);
	OPEN_WITH(again, "valex:there", &o);
	fact("port_is_there", "%s status %s its_memory %d", error_name(again.error), error_name((int)o.nro_opt.nro_status),
		again.reg.nr_mem_id == there.reg.nr_mem_id);
}

/* Pipes and null ports in it. */
static void others(void)
{
	struct nmreq_opt_extmem o = extmem(memory_of(MAP_SHARED), SIZE);
	OPEN_WITH(m, "xp{1", &o, .nr_tx_slots = 16, .nr_rx_slots = 16);
	OPEN(s, "xp}1");
	fact("pipe", "%s %s same %d", error_name(m.error), error_name(s.error), m.reg.nr_mem_id == s.reg.nr_mem_id);
	put(&m, 0x21);
	txsync(&m);
	fact_received("pipe.received", &s, 0);
	close_port(&m);
	close_port(&s);
	o = extmem(memory_of(MAP_SHARED), SIZE);
	OPEN_WITH(n, "", &o, .nr_mode = NR_REG_NULL, .nr_tx_rings = 1, .nr_tx_slots = 4, .nr_extra_bufs = 5);
	fact("null_port", "%s extra %u", error_name(n.error), n.reg.nr_extra_bufs);
}

SCENARIO("switch", "EXTMEM: the program's own memory as a region",
	{ "shared", shared }, { "private", private_memory }, { "refused", refused }, { "others", others })
