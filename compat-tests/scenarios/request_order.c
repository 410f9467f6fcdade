/* NIOCCTRL: in which order a request is validated, and what comes back in the header and the body on errors. */
#include "scenario.h"

static struct nmreq_header header;
static union {
	struct nmreq_register reg;
	struct nmreq_port_info_get info;
	struct nmreq_vale_list list;
	char bytes[512];
} body;

static void fresh(int type, const char *name, void *with_body)
{
	memset(&body, 0, sizeof body);
	make_header(&header, type, name, with_body, NULL);
}

static int send_header(int fd)
{
	return ERROR_OF(ioctl(fd, NIOCCTRL, &header));
}

/* Each fault alone, and every pair of faults: the one that netmap looks at first decides. */
static void faults(void)
{
	int fd = open_device();
	fresh(NETMAP_REQ_REGISTER, "nope", &body);
	body.reg.nr_mode = NR_REG_ALL_NIC;
	fact_error("name", send_header(fd));
	fresh(NETMAP_REQ_REGISTER, "nope", NULL);
	header.nr_version = 13;
	header.nr_reserved = 1;
	fact_error("version_reserved_nobody", send_header(fd));
	fact("version_reserved_nobody.out", "version %u reserved %u", header.nr_version, header.nr_reserved);
	fresh(NETMAP_REQ_REGISTER, "nope", (void *)16);
	header.nr_reserved = 1;
	fact_error("reserved_badbody", send_header(fd));
	fact("reserved_badbody.out", "reserved %u", header.nr_reserved);
	fresh(77, "nope", (void *)16);
	fact_error("unknown_type_badbody", send_header(fd));
	fresh(77, "nope", NULL);
	fact_error("unknown_type_nobody", send_header(fd));
	fresh(NETMAP_REQ_REGISTER, "nope", (void *)16);
	header.nr_options = 16;
	fact_error("badbody_badoption", send_header(fd));
	fresh(NETMAP_REQ_REGISTER, "nope", &body);
	header.nr_options = 16;
	fact_error("badoption_badname", send_header(fd));
	close(fd);
}

/* A request whose body is missing, or there where none is wanted, leaves nr_reserved set: netmap returns
 * before it clears it. The same header sent again is then refused for that. */
static void reserved_left(void)
{
	static const struct { const char *key; int type, with_body; } cases[] = {
		{ "register_nobody", NETMAP_REQ_REGISTER, 0 },
		{ "delif_body", NETMAP_REQ_VALE_DELIF, 1 },
		{ "kloop_stop_body", NETMAP_REQ_SYNC_KLOOP_STOP, 1 },
		{ "csb_enable_body", NETMAP_REQ_CSB_ENABLE, 1 },
		{ "unknown_body", 99, 1 },
	};
	int fd = open_device();
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		fresh(cases[i].type, "nope", cases[i].with_body ? &body : NULL);
		int error = send_header(fd);
		fact(cases[i].key, "%s reserved %u", error_name(error), header.nr_reserved);
		header.nr_body = cases[i].with_body ? 0 : (uintptr_t)&body;
		error = send_header(fd);
		fact("again", "%s reserved %u", error_name(error), header.nr_reserved);
	}
	fresh(NETMAP_REQ_REGISTER, "nope", (void *)16);
	fact("badbody", "%s reserved %u body_kept %d", error_name(send_header(fd)), header.nr_reserved, header.nr_body == 16);
	fresh(NETMAP_REQ_REGISTER, "nope", &body);
	body.reg.nr_mode = NR_REG_ALL_NIC;
	int error = send_header(fd);
	fact("badname", "%s reserved %u body_kept %d", error_name(error), header.nr_reserved,
		header.nr_body == (uintptr_t)&body);
	close(fd);
}

/* Which requests want a body: with none, with one that cannot be read, with one that cannot be written. */
static void bodies(void)
{
	char key[32];
	char *readonly = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	NEED(readonly != MAP_FAILED);
	for (int type = 0; type <= 17; type++) {
		int fd = open_device();
		snprintf(key, sizeof key, "type%d", type);
		fresh(type, "valeq:nope", NULL);
		int none = send_header(fd);
		fresh(type, "valeq:nope", (void *)16);
		int bad = send_header(fd);
		fresh(type, "valeq:nope", readonly);
		int unwritable = send_header(fd);
		/* three answers: error_name has one buffer for the unknown, none is expected */
		fact(key, "none %s bad %s readonly %s", error_name(none), error_name(bad), error_name(unwritable));
		close(fd);
	}
}

/* What cannot be written back makes the call fail, but what was asked for is done. */
static void unwritable(void)
{
	struct nmreq_register *reg = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct nmreq_header *head = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	NEED(reg != MAP_FAILED && head != MAP_FAILED);
	int fd = open_device();
	reg->nr_mode = NR_REG_ALL_NIC;
	mprotect(reg, 4096, PROT_READ);
	fact_error("body", request_on(fd, NETMAP_REQ_REGISTER, "valeq:a", reg));
	fact_error("body.txsync", ERROR_OF(ioctl(fd, NIOCTXSYNC, NULL)));
	fact_error("body.again", request_on(fd, NETMAP_REQ_REGISTER, "valeq:a", reg));
	close(fd);
	fd = open_device();
	make_header(head, NETMAP_REQ_REGISTER, "valeq:b", &body, NULL);
	memset(&body, 0, sizeof body);
	body.reg.nr_mode = NR_REG_ALL_NIC;
	mprotect(head, 4096, PROT_READ);
	fact_error("header", ERROR_OF(ioctl(fd, NIOCCTRL, head)));
	fact("header.body_out", "tx_rings %u", body.reg.nr_tx_rings);
	fact_error("header.txsync", ERROR_OF(ioctl(fd, NIOCTXSYNC, NULL)));
	close(fd);
}

/* The name is cut after 63 characters, and that is written back; not so if the request was refused before. */
static void name_end(void)
{
	int fd = open_device();
	memset(&body, 0, sizeof body);
	body.reg.nr_mode = NR_REG_ALL_NIC;
	make_header(&header, NETMAP_REQ_REGISTER, "", &body, NULL);
	memset(header.nr_name, 'x', sizeof header.nr_name);
	int error = send_header(fd);
	fact("looked_up", "%s last %d", error_name(error), header.nr_name[63]);
	make_header(&header, NETMAP_REQ_REGISTER, "", (void *)16, NULL);
	memset(header.nr_name, 'x', sizeof header.nr_name);
	error = send_header(fd);
	fact("refused", "%s last %d", error_name(error), header.nr_name[63]);
	make_header(&header, NETMAP_REQ_VALE_LIST, "", &body, NULL);
	memset(header.nr_name, 'x', sizeof header.nr_name);
	memcpy(header.nr_name, "vale", 4);
	memset(&body, 0, sizeof body);
	error = send_header(fd);
	fact("listed", "%s last %d", error_name(error), header.nr_name[63]);
	close(fd);
}

/* On errors the body stays as the program wrote it, also where netmap had changed its copy. */
static void body_on_error(void)
{
	int fd = open_device();
	fresh(NETMAP_REQ_REGISTER, "valeq:a", &body);
	body.reg.nr_mode = NR_REG_SW;
	body.reg.nr_tx_rings = 100;
	body.reg.nr_tx_slots = 100000;
	body.reg.nr_flags = NR_ZCOPY_MON;
	body.reg.nr_memsize = 77;
	int error = send_header(fd);
	fact("register", "%s tx_rings %u tx_slots %u flags 0x%llx memsize %llu", error_name(error), body.reg.nr_tx_rings,
		body.reg.nr_tx_slots, (unsigned long long)body.reg.nr_flags, (unsigned long long)body.reg.nr_memsize);
	fresh(NETMAP_REQ_VALE_LIST, "", &body);
	body.list.nr_bridge_idx = 3;
	body.list.nr_port_idx = 4;
	error = send_header(fd);
	fact("list", "%s %u,%u type %u", error_name(error), body.list.nr_bridge_idx, body.list.nr_port_idx, header.nr_reqtype);
	fresh(NETMAP_REQ_PORT_INFO_GET, "nope", &body);
	body.info.nr_tx_rings = 5;
	error = send_header(fd);
	fact("info", "%s tx_rings %u type %u", error_name(error), body.info.nr_tx_rings, header.nr_reqtype);
	close(fd);
}

/* A descriptor that is bound refuses REGISTER before it looks at anything else in it. */
static void bound_first(void)
{
	struct nmreq_opt_extmem extmem = { .nro_opt = { .nro_reqtype = NETMAP_REQ_OPT_EXTMEM, .nro_status = 0x55 } };
	MUST_OPEN(port, "valeq:a");
	struct nmreq_register reg = { .nr_mode = 99, .nr_mem_id = 9999 };
	fact_error("bad_everything", request_on(port.fd, NETMAP_REQ_REGISTER, "nope", &reg));
	fact_error("pipe_mode",
		({ reg.nr_mode = NR_REG_PIPE_MASTER; request_on(port.fd, NETMAP_REQ_REGISTER, "nope", &reg); }));
	fact_error("extmem", request_with(port.fd, NETMAP_REQ_REGISTER, "valeq:b", &reg, &extmem));
	fact_error("extmem.status", (int)extmem.nro_opt.nro_status);
	fact_error("txsync", txsync(&port));
	/* requests that have nothing to do with the binding work on a bound descriptor too */
	struct nmreq_vale_list list = { 0 };
	fact_error("list", request_on(port.fd, NETMAP_REQ_VALE_LIST, "", &list));
	struct nmreq_port_info_get info = { 0 };
	fact_error("info", request_on(port.fd, NETMAP_REQ_PORT_INFO_GET, "valeq:a", &info));
	close_port(&port);
}

/* The order of REGISTER's own checks on an unbound descriptor. */
static void register_order(void)
{
	static const struct { const char *key, *name; struct nmreq_register reg; } cases[] = {
		{ "memid_name", "nope", { .nr_mode = 1, .nr_mem_id = 9999 } },
		{ "memid_mode", "valeq:a", { .nr_mode = 99, .nr_mem_id = 9999 } },
		{ "mode_pipe_name", "nope", { .nr_mode = NR_REG_PIPE_SLAVE } },
		{ "mode_bad_name", "nope", { .nr_mode = 99 } },
		{ "mode_bad", "valeq:a", { .nr_mode = 99 } },
		{ "mode_bad_both_excluded", "valeq:a", { .nr_mode = 99, .nr_flags = NR_RX_RINGS_ONLY | NR_TX_RINGS_ONLY } },
		{ "mode_zero", "valeq:a", { .nr_mode = 0 } },
		{ "null_nomem", "nope", { .nr_mode = NR_REG_NULL } },
		{ "null_pipe_name", "foo{", { .nr_mode = NR_REG_NULL, .nr_mem_id = 1 } },
		{ "monitor_nothing", "nope", { .nr_mode = 1, .nr_flags = NR_MONITOR_RX } },
		{ "monitor_not_open", "valeq:m", { .nr_mode = 1, .nr_flags = NR_MONITOR_RX } },
		{ "monitor_bad_pipe", "foo{", { .nr_mode = 1, .nr_flags = NR_MONITOR_RX } },
		{ "pipe_sw", "foo{1", { .nr_mode = NR_REG_SW } },
		{ "pipe_nic_sw", "foo{1", { .nr_mode = NR_REG_NIC_SW } },
		{ "pipe_one", "foo{1", { .nr_mode = NR_REG_ONE_NIC } },
		{ "pipe_one_beyond", "foo{1", { .nr_mode = NR_REG_ONE_NIC, .nr_ringid = 1 } },
		{ "pipe_empty_id_sw", "foo{", { .nr_mode = NR_REG_SW } },
		{ "one_beyond", "valeq:a", { .nr_mode = NR_REG_ONE_NIC, .nr_ringid = 1 } },
		{ "one_sw", "valeq:a", { .nr_mode = NR_REG_ONE_SW } },
		{ "one_beyond_excluded", "valeq:a",
			{ .nr_mode = NR_REG_ONE_NIC, .nr_ringid = 9, .nr_flags = NR_RX_RINGS_ONLY | NR_TX_RINGS_ONLY } },
		{ "sw_one_side", "valeq:a", { .nr_mode = NR_REG_SW, .nr_flags = NR_TX_RINGS_ONLY } },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct nmreq_register reg = cases[i].reg;
		int fd = open_device();
		fact_error(cases[i].key, request_on(fd, NETMAP_REQ_REGISTER, cases[i].name, &reg));
		close(fd);
	}
}

SCENARIO("switch", "NIOCCTRL: validation order, what comes back on errors",
	{ "faults", faults }, { "reserved_left", reserved_left }, { "bodies", bodies }, { "unwritable", unwritable },
	{ "name_end", name_end }, { "body_on_error", body_on_error }, { "bound_first", bound_first },
	{ "register_order", register_order })
