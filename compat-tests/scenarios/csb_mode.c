/* CSB mode: ring pointers in memory of the program. What CSB and CSB_ENABLE check, what they write, what is refused
 * then. */
#include "scenario.h"

#define RINGS 4

static struct nm_csb_atok atok[RINGS] __attribute__((aligned(64)));
static struct nm_csb_ktoa ktoa[RINGS] __attribute__((aligned(64)));

static struct nmreq_opt_csb csb_option(void *to_kernel, void *from_kernel)
{
	memset(atok, 0x5a, sizeof atok);
	memset(ktoa, 0x5a, sizeof ktoa);
	struct nmreq_opt_csb csb = { .nro_opt = { .nro_reqtype = NETMAP_REQ_OPT_CSB, .nro_status = 0x55 },
		.csb_atok = (uintptr_t)to_kernel, .csb_ktoa = (uintptr_t)from_kernel };
	return csb;
}

static void fact_entry(const char *key, int i)
{
	fact(key, "head %u cur %u appl_need_kick %u sync_flags %u hwcur %u hwtail %u kern_need_kick %u", atok[i].head,
		atok[i].cur, atok[i].appl_need_kick, atok[i].sync_flags, ktoa[i].hwcur, ktoa[i].hwtail, ktoa[i].kern_need_kick);
}

static void at_register(void)
{
	struct nmreq_opt_csb csb = csb_option(atok, ktoa);
	OPEN_WITH(p, "valec:a", &csb, .nr_flags = NR_EXCLUSIVE, .nr_tx_rings = 2, .nr_rx_rings = 1);
	fact("register", "%s status %s", error_name(p.error), error_name((int)csb.nro_opt.nro_status));
	fact_entry("tx0", 0);
	fact_entry("tx1", 1);
	fact_entry("rx0", 2);
	fact("beyond", "%x", atok[3].head);
	fact("untouched", "%x", atok[0].pad[0]);
	fact_error("txsync", txsync(&p));
	fact_error("rxsync", rxsync(&p));
	fact("poll", "0=%s IN=%s OUT=%s", poll_result(p.fd, 0, 0), poll_result(p.fd, POLLIN, 0),
		poll_result(p.fd, POLLOUT, 0));
	fact("select", "%s", select_result(p.fd, 1, 1, 0));
	fact("epoll", "%s", epoll_result(p.fd, EPOLLIN, 0));
	put(&p, 1);
	fact_error("txsync_pending", txsync(&p));
	fact_ring("tx", txring(&p, 0));
	/* other requests on it work */
	struct nmreq_port_info_get info = { 0 };
	fact_error("info", request_on(p.fd, NETMAP_REQ_PORT_INFO_GET, "valec:a", &info));
}

/* What the option refuses; the port must not stay. */
static void refused(void)
{
	static const struct { const char *key; int atok_off, ktoa_off, exclusive; } cases[] = {
		{ "not_exclusive", 0, 0, 0 }, { "atok_unaligned", 4, 0, 1 }, { "ktoa_unaligned", 0, 32, 1 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct nmreq_opt_csb csb = csb_option((char *)atok + cases[i].atok_off, (char *)ktoa + cases[i].ktoa_off);
		OPEN_WITH(p, "valec:b", &csb, .nr_flags = cases[i].exclusive ? NR_EXCLUSIVE : 0);
		fact(cases[i].key, "%s status %s", error_name(p.error), error_name((int)csb.nro_opt.nro_status));
		fact("written", "%x %x", atok[0].head, ktoa[0].hwcur);
		fact_error("bound", txsync(&p));
		close_port(&p);
	}
	void *readonly = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct nmreq_opt_csb bad_read = csb_option((void *)64, ktoa), bad_write = csb_option(atok, readonly);
	OPEN_WITH(p, "valec:b", &bad_read, .nr_flags = NR_EXCLUSIVE);
	fact("atok_nowhere", "%s status %s", error_name(p.error), error_name((int)bad_read.nro_opt.nro_status));
	close_port(&p);
	OPEN_WITH(q, "valec:b", &bad_write, .nr_flags = NR_EXCLUSIVE);
	fact("ktoa_readonly", "%s status %s", error_name(q.error), error_name((int)bad_write.nro_opt.nro_status));
	close_port(&q);
	struct nmreq_opt_csb null_ones = csb_option(NULL, NULL);
	OPEN_WITH(r, "valec:b", &null_ones, .nr_flags = NR_EXCLUSIVE);
	fact("null", "%s status %s", error_name(r.error), error_name((int)null_ones.nro_opt.nro_status));
	struct nmreq_vale_list list = { 0 };
	fact_error("left", request(NETMAP_REQ_VALE_LIST, "", &list));
}

/* Without any ring the option has nothing to do, and the port is not in CSB mode. */
static void no_rings(void)
{
	struct nmreq_opt_csb csb = csb_option(atok, ktoa);
	OPEN_WITH(p, "valec:n", &csb, .nr_flags = NR_TX_RINGS_ONLY | NR_RX_RINGS_ONLY);
	fact("neither", "%s status %s", error_name(p.error), error_name((int)csb.nro_opt.nro_status));
	fact("neither.written", "%x", atok[0].head);
	fact_error("neither.txsync", txsync(&p));
	csb = csb_option(atok, ktoa);
	OPEN_WITH(tx, "valec:t", &csb, .nr_flags = NR_TX_RINGS_ONLY | NR_EXCLUSIVE);
	fact("tx_only", "%s status %s", error_name(tx.error), error_name((int)csb.nro_opt.nro_status));
	fact_entry("tx_only.0", 0);
	fact("tx_only.1", "%x", atok[1].head);
	csb = csb_option(atok, ktoa);
	OPEN_WITH(rx, "valec:r", &csb, .nr_flags = NR_RX_RINGS_ONLY | NR_EXCLUSIVE);
	fact("rx_only", "%s", error_name(rx.error));
	fact_entry("rx_only.0", 0);
}

/* The request on a port that is open already: it takes the rings as they are. */
static void enabled_later(void)
{
	struct nmreq_opt_csb csb = csb_option(atok, ktoa);
	int fd = open_device();
	fact("unbound_no_option", "%s", error_name(request_on(fd, NETMAP_REQ_CSB_ENABLE, "", NULL)));
	int error = request_with(fd, NETMAP_REQ_CSB_ENABLE, "", NULL, &csb);
	fact("unbound", "%s status %s", error_name(error), error_name((int)csb.nro_opt.nro_status));
	close(fd);
	MUST_OPEN(b, "valec:b");
	MUST_OPEN(p, "valec:a", .nr_flags = NR_EXCLUSIVE);
	put(&p, 1);
	put(&p, 2);
	txsync(&p);
	put_on(txring(&b, 0), mac_a, mac_b, 60, 3, 0);
	txsync(&b);
	rxsync(&p);
	put(&p, 4);
	csb = csb_option(atok, ktoa);
	error = request_with(p.fd, NETMAP_REQ_CSB_ENABLE, "anything", NULL, &csb);
	fact("enable", "%s status %s", error_name(error), error_name((int)csb.nro_opt.nro_status));
	fact_entry("tx0", 0);
	fact_entry("rx0", 1);
	fact_error("txsync", txsync(&p));
	/* again, with other memory */
	static struct nm_csb_atok other[RINGS] __attribute__((aligned(64)));
	csb.csb_atok = (uintptr_t)other;
	csb.nro_opt.nro_status = 0x55;
	error = request_with(p.fd, NETMAP_REQ_CSB_ENABLE, "", NULL, &csb);
	fact("enable_again", "%s status %s head %u", error_name(error), error_name((int)csb.nro_opt.nro_status),
		other[0].head);
	/* one that fails leaves the mode on */
	csb.csb_atok = 1;
	csb.nro_opt.nro_status = 0x55;
	error = request_with(p.fd, NETMAP_REQ_CSB_ENABLE, "", NULL, &csb);
	fact("enable_bad", "%s status %s", error_name(error), error_name((int)csb.nro_opt.nro_status));
	fact("poll", "%s", poll_result(p.fd, POLLIN, 0));
	fact("sent", "%u", drain(&b));
}

/* Other ports are not touched by one that is in CSB mode. */
static void neighbours(void)
{
	struct nmreq_opt_csb csb = csb_option(atok, ktoa);
	OPEN_WITH(p, "valec:a", &csb, .nr_flags = NR_EXCLUSIVE);
	MUST_OPEN(b, "valec:b");
	put_on(txring(&b, 0), mac_all, mac_b, 60, 1, 0);
	fact_error("send_to_it", txsync(&b));
	fact_ring("b_tx", txring(&b, 0));
	fact_ring("rx_shown", rxring(&p, 0));
	fact("ktoa_rx", "%u,%u", ktoa[1].hwcur, ktoa[1].hwtail);
	OPEN(q, "valec:a");
	fact_error("second_descriptor", q.error);
	close_port(&p);
	OPEN(r, "valec:a");
	fact("free_again", "%s %s", error_name(r.error), error_name(txsync(&r)));
}

static void on_pipe(void)
{
	struct nmreq_opt_csb csb = csb_option(atok, ktoa);
	OPEN_WITH(p, "cp{1", &csb, .nr_flags = NR_EXCLUSIVE);
	fact("register", "%s status %s", error_name(p.error), error_name((int)csb.nro_opt.nro_status));
	fact_entry("tx0", 0);
	fact_entry("rx0", 1);
	fact_error("txsync", txsync(&p));
	OPEN(s, "cp}1");
	fact("other_end", "%s %s", error_name(s.error), error_name(txsync(&s)));
}

SCENARIO("switch", "CSB mode: the option, CSB_ENABLE, what is refused then",
	{ "at_register", at_register }, { "refused", refused }, { "no_rings", no_rings }, { "enabled_later", enabled_later },
	{ "neighbours", neighbours }, { "on_pipe", on_pipe })
