/* The list of options of a request: walking it, sizes, duplicates, loops, and the status each option gets. */
#include "scenario.h"

#define UNTOUCHED 0x55

static const char *status_name(uint32_t status)
{
	return status == UNTOUCHED ? "untouched" : error_name((int)status);
}

static struct nmreq_option option(uint32_t type, void *next)
{
	struct nmreq_option o = { .nro_next = (uintptr_t)next, .nro_reqtype = type, .nro_status = UNTOUCHED };
	return o;
}

/* How many unknown options a request of each kind may carry: netmap's buffer is what limits it. */
static void most_options(void)
{
	static const struct { const char *key, *name; int type; } kinds[] = {
		{ "info", "", NETMAP_REQ_PORT_INFO_GET }, { "list", "", NETMAP_REQ_VALE_LIST },
		{ "pools", "", NETMAP_REQ_POOLS_INFO_GET }, { "delif", "nope", NETMAP_REQ_VALE_DELIF },
	};
	static struct nmreq_option many[200];
	static char body[512];
	int fd = open_device();
	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
		int most = 0, over = 0;
		char key[64];
		for (int n = 1; n <= 200 && !over; n++) {
			for (int i = 0; i < n; i++)
				many[i] = option(1000 + (uint32_t)i, i + 1 < n ? &many[i + 1] : NULL);
			memset(body, 0, sizeof body);
			int error = request_with(fd, kinds[k].type, kinds[k].name, kinds[k].type == NETMAP_REQ_VALE_DELIF ? NULL : body,
				many);
			if (error == EMSGSIZE)
				over = n;
			else
				most = n;
		}
		fact(kinds[k].key, "most %d first_refused %d", most, over);
		snprintf(key, sizeof key, "%s.refused_status", kinds[k].key);
		fact(key, "%s,%s", status_name(many[0].nro_status), status_name(many[most].nro_status));
	}
	close(fd);
}

/* Only REGISTER fails for an option that nobody took; the others leave EOPNOTSUPP in its status. */
static void not_taken(void)
{
	struct nmreq_option o;
	static char body[512];
	int fd = open_device();
	for (int type = 1; type <= 15; type++) {
		char key[32];
		int without = type == NETMAP_REQ_VALE_DELIF || type == NETMAP_REQ_SYNC_KLOOP_STOP || type == NETMAP_REQ_CSB_ENABLE;
		o = option(99, NULL);
		memset(body, 0, sizeof body);
		if (type == NETMAP_REQ_REGISTER)
			((struct nmreq_register *)body)->nr_mode = NR_REG_ALL_NIC;
		snprintf(key, sizeof key, "type%d", type);
		int error = request_with(fd, type, "valeq:a", without ? NULL : body, &o);
		fact(key, "%s %s", error_name(error), status_name(o.nro_status));
	}
	/* the port must be gone again */
	struct nmreq_vale_list list = { 0 };
	fact_error("left", request_on(fd, NETMAP_REQ_VALE_LIST, "", &list));
	fact_error("txsync", ERROR_OF(ioctl(fd, NIOCTXSYNC, NULL)));
	close(fd);
}

/* Sizes: nro_size counts where the option's own size is fixed too, and not for unknown options. */
static void sizes(void)
{
	static struct { struct nmreq_option o; char more[8192]; } big;
	static const struct { const char *key; uint32_t type; uint64_t size; } cases[] = {
		{ "csb_4096", NETMAP_REQ_OPT_CSB, 4096 }, { "csb_4097", NETMAP_REQ_OPT_CSB, 4097 },
		{ "mode_4097", NETMAP_REQ_OPT_SYNC_KLOOP_MODE, 4097 }, { "offsets_4097", NETMAP_REQ_OPT_OFFSETS, 4097 },
		{ "extmem_4097", NETMAP_REQ_OPT_EXTMEM, 4097 }, { "unknown_4097", 99, 4097 }, { "unknown_max", 99, ~0ull },
		{ "eventfds_0", NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS, 0 }, { "eventfds_24", NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS, 24 },
		{ "eventfds_3000", NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS, 3000 },
		{ "eventfds_4097", NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS, 4097 },
		{ "eventfds_max", NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS, ~0ull },
	};
	struct nmreq_port_info_get info;
	int fd = open_device();
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		memset(&info, 0, sizeof info);
		big.o = option(cases[i].type, NULL);
		big.o.nro_size = cases[i].size;
		int error = request_with(fd, NETMAP_REQ_PORT_INFO_GET, "", &info, &big);
		fact(cases[i].key, "%s %s", error_name(error), status_name(big.o.nro_status));
	}
	/* body, option header and option body together may be 4096 bytes */
	for (unsigned room = 4096 - sizeof info - sizeof big.o, i = 0; i < 2; i++) {
		memset(&info, 0, sizeof info);
		big.o = option(NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS, NULL);
		big.o.nro_size = sizeof big.o + room + i;
		int error = request_with(fd, NETMAP_REQ_PORT_INFO_GET, "", &info, &big);
		fact(i ? "sum_4097" : "sum_4096", "%s %s", error_name(error), status_name(big.o.nro_status));
	}
	close(fd);
}

/* Types out of range, and duplicates of known and unknown types. */
static void types(void)
{
	struct nmreq_opt_csb one, two;
	struct nmreq_option a, b, c;
	struct nmreq_port_info_get info = { 0 };
	int fd = open_device();
	a = option(0, NULL);
	fact_error("zero", request_with(fd, NETMAP_REQ_PORT_INFO_GET, "", &info, &a));
	fact("zero.status", "%s", status_name(a.nro_status));
	a = option(99, &b);
	b = option(0, &c);
	c = option(98, NULL);
	fact_error("zero_second", request_with(fd, NETMAP_REQ_PORT_INFO_GET, "", &info, &a));
	fact("zero_second.status", "%s,%s,%s", status_name(a.nro_status), status_name(b.nro_status),
		status_name(c.nro_status));
	memset(&one, 0, sizeof one);
	memset(&two, 0, sizeof two);
	one.nro_opt = option(NETMAP_REQ_OPT_CSB, &a);
	a = option(97, &two);
	two.nro_opt = option(NETMAP_REQ_OPT_CSB, &b);
	b = option(96, NULL);
	fact_error("twice", request_with(fd, NETMAP_REQ_PORT_INFO_GET, "", &info, &one));
	fact("twice.status", "%s,%s,%s,%s", status_name(one.nro_opt.nro_status), status_name(a.nro_status),
		status_name(two.nro_opt.nro_status), status_name(b.nro_status));
	a = option(97, &b);
	b = option(97, NULL);
	fact_error("unknown_twice", request_with(fd, NETMAP_REQ_PORT_INFO_GET, "", &info, &a));
	fact("unknown_twice.status", "%s,%s", status_name(a.nro_status), status_name(b.nro_status));
	a = option(0x7fffffff, &b);
	b = option(0xffffffff, NULL);
	fact_error("huge", request_with(fd, NETMAP_REQ_PORT_INFO_GET, "", &info, &a));
	fact("huge.status", "%s,%s", status_name(a.nro_status), status_name(b.nro_status));
	close(fd);
}

/* Pointers that lead nowhere, and lists that come back to themselves. */
static void pointers(void)
{
	struct nmreq_option a, b, c;
	struct nmreq_port_info_get info = { 0 };
	struct nmreq_header header;
	int fd = open_device();
	a = option(99, &b);
	b = option(98, (void *)24);
	fact_error("third_bad", request_with(fd, NETMAP_REQ_PORT_INFO_GET, "", &info, &a));
	fact("third_bad.status", "%s,%s next_kept %d", status_name(a.nro_status), status_name(b.nro_status), b.nro_next == 24);
	a = option(99, &b);
	b = option(98, &c);
	c = option(97, &a);
	fact_error("ring_of_three", request_with(fd, NETMAP_REQ_PORT_INFO_GET, "", &info, &a));
	fact("ring_of_three.status", "%s,%s,%s", status_name(a.nro_status), status_name(b.nro_status),
		status_name(c.nro_status));
	/* an option whose header ends at the end of memory: the body cannot be read */
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	NEED(pages != MAP_FAILED && munmap(pages + 4096, 4096) == 0);
	struct nmreq_option *last = (struct nmreq_option *)(pages + 4096 - sizeof *last);
	*last = option(NETMAP_REQ_OPT_CSB, NULL);
	fact_error("body_cut", request_with(fd, NETMAP_REQ_PORT_INFO_GET, "", &info, last));
	fact("body_cut.status", "%s", status_name(last->nro_status));
	*last = option(99, NULL);
	fact_error("unknown_at_end", request_with(fd, NETMAP_REQ_PORT_INFO_GET, "", &info, last));
	fact("unknown_at_end.status", "%s", status_name(last->nro_status));
	/* statuses that cannot be written */
	*last = option(99, NULL);
	mprotect(pages, 4096, PROT_READ);
	make_header(&header, NETMAP_REQ_PORT_INFO_GET, "", &info, last);
	int error = ERROR_OF(ioctl(fd, NIOCCTRL, &header));
	fact("readonly", "%s options_kept %d reserved %u", error_name(error), header.nr_options == (uintptr_t)last,
		header.nr_reserved);
	info.nr_memsize = 1;
	request_with(fd, NETMAP_REQ_PORT_INFO_GET, "", &info, last);
	fact("readonly.body_written", "%d", info.nr_memsize > 1);
	close(fd);
}

/* What an option for another request gets. */
static void misplaced(void)
{
	static struct { struct nmreq_option o; uint64_t more[64]; } x;
	static const struct { const char *key; uint32_t type; } options[] = {
		{ "extmem", NETMAP_REQ_OPT_EXTMEM }, { "eventfds", NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS },
		{ "csb", NETMAP_REQ_OPT_CSB },
		{ "mode", NETMAP_REQ_OPT_SYNC_KLOOP_MODE }, { "offsets", NETMAP_REQ_OPT_OFFSETS },
	};
	for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
		struct nmreq_port_info_get info = { 0 };
		struct nmreq_vale_attach attach = { .reg = { .nr_mode = NR_REG_ALL_NIC } };
		struct nmreq_vale_newif newif = { 0 };
		int fd = open_device(), error;
		char key[48];
#define TRY(what, kind, name, body) \
		memset(&x, 0, sizeof x); \
		x.o = option(options[i].type, NULL); \
		snprintf(key, sizeof key, "%s.%s", options[i].key, what); \
		error = request_with(fd, kind, name, body, &x); \
		fact(key, "%s %s", error_name(error), status_name(x.o.nro_status))
		TRY("info", NETMAP_REQ_PORT_INFO_GET, "", &info);
		TRY("attach", NETMAP_REQ_VALE_ATTACH, "valeq:nope", &attach);
		TRY("newif", NETMAP_REQ_VALE_NEWIF, "valenope", &newif);
		TRY("kloop_stop", NETMAP_REQ_SYNC_KLOOP_STOP, "", NULL);
#undef TRY
		close(fd);
	}
	/* REGISTER takes EXTMEM, CSB and OFFSETS; the two of the kloop are nobody's there */
	for (int i = 0; i < 2; i++) {
		memset(&x, 0, sizeof x);
		x.o = option(i ? NETMAP_REQ_OPT_SYNC_KLOOP_MODE : NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS, NULL);
		OPEN_WITH(port, "valeq:a", &x);
		fact(i ? "mode.register" : "eventfds.register", "%s %s", error_name(port.error), status_name(x.o.nro_status));
		close_port(&port);
	}
}

SCENARIO("switch", "the list of options: walking, sizes, duplicates, loops, statuses",
	{ "most_options", most_options }, { "not_taken", not_taken }, { "sizes", sizes }, { "types", types },
	{ "pointers", pointers }, { "misplaced", misplaced })
